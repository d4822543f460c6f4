"""Constants of the official datasets, so that models run without the files of the dataset.

For AVA this includes the class names, so that predictions are drawn with them.
"""


def _names(text: str) -> tuple[str, ...]:
    """Split names that are separated by ";": some contain commas."""
    return tuple(name.strip() for name in text.split(";"))


# Second of the video at which the usual 15-minute cuts start.
AVA_CUT_SECOND = 900.0

# First and last annotated second of every video.
AVA_VALID_SECONDS = (902.0, 1798.0)

# The official action list in the order of its ids, which start at 1 (60 of the 80 are evaluated):
# poses (1 to 14), actions with an object (15 to 63) and with a person (64 to 80).
_AVA_ACTIONS = _names(
    """
    bend/bow (at the waist); crawl; crouch/kneel; dance; fall down; get up; jump/leap; lie/sleep;
    martial art; run/jog; sit; stand; swim; walk;
    answer phone; brush teeth; carry/hold (an object); catch (an object); chop;
    climb (e.g., a mountain); clink glass; close (e.g., a door, a box); cook; cut; dig;
    dress/put on clothing; drink; drive (e.g., a car, a truck); eat; enter; exit; extract; fishing;
    hit (an object); kick (an object); lift/pick up; listen (e.g., to music);
    open (e.g., a window, a car door); paint; play board game; play musical instrument;
    play with pets; point to (an object); press; pull (an object); push (an object); put down; read;
    ride (e.g., a bike, a car, a horse); row boat; sail boat; shoot; shovel; smoke; stir;
    take a photo; text on/look at a cellphone; throw; touch (an object); turn (e.g., a screwdriver);
    watch (e.g., TV); work on a computer; write;
    fight/hit (a person); give/serve (an object) to (a person); grab (a person); hand clap;
    hand shake; hand wave; hug (a person); kick (a person); kiss (a person); lift (a person);
    listen to (a person); play with kids; push (another person);
    sing to (e.g., self, a person, a group); take (an object) from (a person);
    talk to (e.g., self, a person, a group); watch (a person)
    """
)
AVA_LABEL_MAP: dict[int, str] = dict(enumerate(_AVA_ACTIONS, 1))

# Number of classes of each version.
KINETICS_NUM_CLASSES = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700}

# Classes of Kinetics-400 that are recognisable by frames and by audio (paper, appendix B).
KINETICS_SOUNDS = _names(
    """
    blowing nose; blowing out candles; bowling; chopping wood; dribbling basketball; laughing;
    mowing lawn; playing accordion; playing bagpipes; playing bass guitar; playing clarinet;
    playing drums; playing guitar; playing harmonica; playing keyboard; playing organ;
    playing piano; playing saxophone; playing trombone; playing trumpet; playing violin;
    playing xylophone; ripping paper; shoveling snow; shuffling cards; singing; stomping grapes;
    strumming guitar; tap dancing; tapping guitar; tapping pen; tickling
    """
)

# Numbers of verbs and nouns.
EPIC55_NUM_CLASSES = (125, 352)
EPIC100_NUM_CLASSES = (97, 300)

# EPIC-Kitchens-55 has public labels for one list only: train and val divide its participants.
EPIC55_PARTICIPANTS = {"train": range(1, 26), "val": range(26, 33)}

CHARADES_NUM_CLASSES = 157
HMDB51_NUM_CLASSES = 51

UCF24_NUM_CLASSES = 24
JHMDB_NUM_CLASSES = 21
MULTISPORTS_NUM_CLASSES = 66
# Classes that MultiSports' evaluation leaves out.
MULTISPORTS_UNSCORED = _names(
    """
    aerobic kick jump; aerobic off axis jump; aerobic butterfly jump; aerobic balance turn;
    basketball save; basketball jump ball
    """
)
