"""The config keys that avsf_det adds to Detectron2's.

No default of Detectron2 changes here. The files ``configs/Base-*.yaml`` do that, where a reader can
see it. ``engine/config_checks.py`` has the range of each key.
"""

from detectron2.config import CfgNode


def add_avsf_config(cfg: CfgNode) -> None:
    """Add the keys of AVSlowFast to ``cfg``, in place."""
    _add_input(cfg)
    _add_backbone(cfg)
    _add_slowfast(cfg)
    _add_audio(cfg)
    _add_heads(cfg)
    _add_self_supervision(cfg)
    _add_data(cfg)


def _add_input(cfg: CfgNode) -> None:
    # What the model takes. A dataset of another kind is refused. "keyframes": clips around
    # keyframes with person boxes; "clips": clips without boxes; "frames": images of keyframes, to
    # train one of Detectron2's detectors on persons; "": clips of either kind.
    cfg.INPUT.KIND = ""
    cfg.INPUT.FRAMES = True  # whether frames are read; False for the Audio pathway alone

    # The clip: the Fast pathway's frames. It spans NUM_FRAMES * STRIDE / FPS seconds.
    cfg.INPUT.CLIP = CfgNode()
    cfg.INPUT.CLIP.NUM_FRAMES = 32  # frames T of the Fast pathway (alpha_F * T of the paper)
    cfg.INPUT.CLIP.STRIDE = 2  # distance of two frames, in frames at FPS (tau / alpha_F)
    cfg.INPUT.CLIP.FPS = 30.0  # frames per second in which STRIDE counts; files may have any rate

    cfg.INPUT.COLOR_JITTER = CfgNode()
    cfg.INPUT.COLOR_JITTER.ENABLED = False
    # Brightness, contrast and saturation are multiplied by a factor in 1 +- STRENGTH, 0..1.
    cfg.INPUT.COLOR_JITTER.STRENGTH = 0.4
    cfg.INPUT.COLOR_JITTER.PCA_STD = 0.1  # std of the PCA lighting noise

    # The log-mel spectrogram of the clip's own time span.
    cfg.INPUT.AUDIO = CfgNode()
    cfg.INPUT.AUDIO.SAMPLE_RATE = 16000  # Hz
    cfg.INPUT.AUDIO.WINDOW_SEC = 0.032  # seconds
    cfg.INPUT.AUDIO.HOP_SEC = 0.016  # seconds
    cfg.INPUT.AUDIO.NUM_MELS = 80  # frequency bins F
    cfg.INPUT.AUDIO.NUM_FRAMES = 128  # time steps T_a that are picked from the span
    # Seconds by which all audio is taken later than the frames, to misalign the two on purpose.
    cfg.INPUT.AUDIO.OFFSET_SEC = 0.0
    # Whether training clips have a second spectrogram of another time of the same video: the hard
    # negatives that MODEL.AVSYNC needs. TEST.AUDIO_NEGATIVES is the same at test.
    cfg.INPUT.AUDIO.NEGATIVES = False
    cfg.INPUT.AUDIO.NEGATIVE_GAP_SEC = 0.5  # seconds; a negative starts this much earlier or later


def _add_backbone(cfg: CfgNode) -> None:
    # Mean and std of log-mel values, natural log of power (the authors' code). Pixels are 0..255.
    cfg.MODEL.AUDIO_MEAN = -7.03
    cfg.MODEL.AUDIO_STD = 4.66

    # Options for speed; docs/performance.md has figures. Results agree up to rounding.
    # "" (float32), "bfloat16" or "float16". "bfloat16" is twice as fast or more on GPUs from Ampere
    # on and on processors with instructions for it (AVX512_BF16, AMX), and far slower on others.
    # "float16" is for inference; to train in it use SOLVER.AMP.ENABLED, which scales gradients.
    cfg.MODEL.AUTOCAST_DTYPE = ""
    # Store frames as (N, T, H, W, C) in memory: faster on GPUs with 16 bits, hardly or not with 32.
    # On a CPU they are stored so in any case.
    cfg.MODEL.CHANNELS_LAST = False
    # torch.compile of the backbone. It takes a minute or more per size of frames, so it is for
    # long trainings with one crop size; their evaluations are not compiled.
    cfg.MODEL.COMPILE = False

    # MODEL.BACKBONE.NAME picks the pathways: build_{slow,slowfast,audio,avslowfast}_backbone.
    # Fraction of the backbone's tensors that MODEL.WEIGHTS must contain, 0..1; fewer are an error.
    cfg.MODEL.WEIGHTS_MIN_MATCHED = 0.9


def _add_slowfast(cfg: CfgNode) -> None:
    # Slow and Fast pathways. Lists over stages are for res2, res3, res4, res5.
    cfg.MODEL.SLOWFAST = CfgNode()
    cfg.MODEL.SLOWFAST.DEPTH = 50  # 50 or 101
    cfg.MODEL.SLOWFAST.WIDTH = 64  # channels of the Slow stem; 64 is the published width
    cfg.MODEL.SLOWFAST.ALPHA = 8  # alpha_F: Fast frames per Slow frame
    cfg.MODEL.SLOWFAST.BETA_INV = 8  # 1 / beta_F: Slow channels per Fast channel
    # Blocks of each stage with temporal kernels, where the pathway has them.
    cfg.MODEL.SLOWFAST.NUM_TEMPORAL_BLOCKS = [3, 4, 6, 3]
    cfg.MODEL.SLOWFAST.SPATIAL_STRIDES = [1, 2, 2, 2]
    cfg.MODEL.SLOWFAST.SPATIAL_DILATIONS = [1, 1, 1, 1]
    cfg.MODEL.SLOWFAST.NORM = "BN"  # "BN", "SyncBN", "SubBN", "FrozenBN" (fixed affine)
    cfg.MODEL.SLOWFAST.SUBBN_CLIPS = 8  # "SubBN": statistics over groups of this many clips
    # Whether Slow, Fast and the laterals between them keep their weights and batch-norm statistics.
    cfg.MODEL.SLOWFAST.FREEZE = False
    # Fast-to-Slow laterals: the stages after which they are, of pool1, res2, res3, res4.
    cfg.MODEL.SLOWFAST.FUSION_STAGES = ["pool1", "res2", "res3", "res4"]
    cfg.MODEL.SLOWFAST.FUSION_KERNEL = 5  # frames
    cfg.MODEL.SLOWFAST.FUSION_RATIO = 2  # output channels of the lateral per Fast channel
    # Whether laterals have norm and ReLU; MMAction2's are the convolution alone.
    cfg.MODEL.SLOWFAST.FUSION_NORM = True
    # Whether Slow's frames span the clip, the last frame too; MMAction2 takes each ALPHA-th.
    cfg.MODEL.SLOWFAST.SPAN_CLIP = True
    # Non-local blocks of the Slow pathway: after which blocks (0-based) of res3 and res4.
    cfg.MODEL.SLOWFAST.NONLOCAL = CfgNode()
    cfg.MODEL.SLOWFAST.NONLOCAL.RES3 = []
    cfg.MODEL.SLOWFAST.NONLOCAL.RES4 = []
    cfg.MODEL.SLOWFAST.NONLOCAL.POOL = [2, 2, 2]  # max pool (t, h, w) of keys and values
    cfg.MODEL.SLOWFAST.NONLOCAL.TYPE = "dot_product"  # or "softmax"


def _add_audio(cfg: CfgNode) -> None:
    # Audio pathway and its laterals (depth, norm and width / BETA_INV are those of MODEL.SLOWFAST).
    cfg.MODEL.AUDIO = CfgNode()
    cfg.MODEL.AUDIO.BETA_INV = 2  # 1 / beta_A: Slow channels per Audio channel
    cfg.MODEL.AUDIO.ALPHA = 32  # alpha_A: time steps of the spectrogram per Slow frame
    cfg.MODEL.AUDIO.STRIDES = [1, 2, 2, 2]  # stride in time and frequency of res2..res5
    cfg.MODEL.AUDIO.BLOCK = "v1"  # block of res2, res3: "v1" as evaluated, "v2" of Table 1, "3x3"
    # Where audio is fused: any of pool1, res2, res3, res4 (laterals), pool5 (in the classifier).
    cfg.MODEL.AUDIO.FUSION_STAGES = ["res3", "res4", "pool5"]
    cfg.MODEL.AUDIO.FUSION_TYPE = "a_fs"  # laterals: "a_fs", "a_f_s", "av_nonlocal" (Table 5a)
    cfg.MODEL.AUDIO.FUSION_KERNEL = 5  # time steps of the spectrogram
    cfg.MODEL.AUDIO.FUSION_WIDTH = 64  # channels inside the lateral
    # "a_fs", "a_f_s": a gain per channel behind the ReLU of each lateral, which starts at 0. So a
    # model that starts from a SlowFast has the SlowFast's scores.
    cfg.MODEL.AUDIO.LATERAL_GAIN = False
    cfg.MODEL.AUDIO.WEIGHTS = ""  # file of the Audio pathway's weights, after MODEL.WEIGHTS
    cfg.MODEL.AUDIO.NONLOCAL_POOL = [1, 2, 2]  # "av_nonlocal": max pool (t, h, w) of the visual map
    cfg.MODEL.AUDIO.NONLOCAL_TYPE = "dot_product"  # "av_nonlocal": or "softmax"
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.8  # P_d, probability per training step, 0..1
    cfg.MODEL.AUDIO.DROP_SCOPE = "all"  # or "laterals": pooled audio stays (the authors' code)
    cfg.MODEL.AUDIO.DROP_FILL = "zeros"  # or "mean": running mean of the features that are dropped


def _add_heads(cfg: CfgNode) -> None:
    cfg.MODEL.ROI_ACTION_HEAD = CfgNode()
    cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 80  # actions K
    cfg.MODEL.ROI_ACTION_HEAD.POOLER_RESOLUTION = 7  # positions along each side of a box
    cfg.MODEL.ROI_ACTION_HEAD.POOLER_SAMPLING_RATIO = 0  # points per position; 0: adaptive
    cfg.MODEL.ROI_ACTION_HEAD.POOLER_TYPE = "ROIAlignV2"  # "ROIAlign" for Caffe2 weights
    cfg.MODEL.ROI_ACTION_HEAD.DROPOUT = 0.5  # probability, 0..1
    # Whether training boxes of DATASETS.PROPOSAL_FILES_TRAIN that match no ground-truth box are
    # kept, as persons without actions (PySlowFast does so); else they are left out.
    cfg.MODEL.ROI_ACTION_HEAD.KEEP_UNMATCHED = False

    # Person detector for videos without boxes: any of Detectron2's detectors whose category 0 is
    # the person. CONFIG_FILE is a path, a name in Detectron2's model zoo, or one of torchvision's
    # detectors, such as "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn".
    cfg.MODEL.PERSON_DETECTOR = CfgNode()
    # Config of Detectron2, "torchvision/<name>", an .onnx file (engine/onnx_detector.py), or
    # "whole-frame": the frame is the box of its one person.
    cfg.MODEL.PERSON_DETECTOR.CONFIG_FILE = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
    cfg.MODEL.PERSON_DETECTOR.WEIGHTS = ""  # path or URL; "": those of the model zoo
    cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH = 0.8  # boxes with a lower score are dropped, 0..1
    # Short side in pixels to which frames are resized; 0: that of the detector's config (800 in
    # Detectron2's zoo). Time falls with its square, and small persons are missed.
    cfg.MODEL.PERSON_DETECTOR.MIN_SIZE = 0

    # Classification of whole clips, with one classifier for each task.
    cfg.MODEL.CLIP_HEAD = CfgNode()
    cfg.MODEL.CLIP_HEAD.TASKS = ["action"]
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [400]  # classes of each task
    cfg.MODEL.CLIP_HEAD.LOSS = "softmax"  # or "sigmoid": several classes per clip
    cfg.MODEL.CLIP_HEAD.DROPOUT = 0.5  # probability, 0..1
    # Positions of res5 (h and w) that are pooled into one: those of a training crop. On a larger
    # map the classifier slides, and its scores are averaged.
    cfg.MODEL.CLIP_HEAD.POOL_WINDOW = 7


def _add_self_supervision(cfg: CfgNode) -> None:
    # Audiovisual synchronisation (AVS): a loss in addition to those of any model, in training only.
    # Training with it needs INPUT.AUDIO.NEGATIVES.
    cfg.MODEL.AVSYNC = CfgNode()
    cfg.MODEL.AVSYNC.ENABLED = False
    cfg.MODEL.AVSYNC.LEVELS = ["res3", "res4", "res5"]  # after which stages; any of res2..res5
    # At res5, too, compare the output of laterals, which exist for that alone. False: pooled maps.
    cfg.MODEL.AVSYNC.RES5_LATERALS = True
    cfg.MODEL.AVSYNC.DIM = 64  # channels of the embeddings
    cfg.MODEL.AVSYNC.LOSS = "contrastive"  # or "bce": classify pairs as in sync or not
    cfg.MODEL.AVSYNC.MARGIN = 0.99  # margin of "contrastive", 0..1, as distances are at most 1
    cfg.MODEL.AVSYNC.WEIGHT = 1.0  # weight of each level's loss
    # Clips are masked in the loss if one of the two normalised spectrograms has this variance or
    # less (silent), or if their cosine similarity is this or more (identical).
    cfg.MODEL.AVSYNC.MIN_VARIANCE = 0.01
    cfg.MODEL.AVSYNC.MAX_SIMILARITY = 0.99999
    # All negatives are easy (audio of another video) up to the fraction HARD_AFTER of
    # SOLVER.MAX_ITER, 0..1. After it a fraction EASY_RATIO is easy, 0..1, the others are hard
    # (audio of the same video at another time).
    cfg.MODEL.AVSYNC.HARD_AFTER = 0.5
    cfg.MODEL.AVSYNC.EASY_RATIO = 0.75

    # META_ARCHITECTURE "AVPretrainer": predict by which multiple of 90 degrees the clip is rotated.
    cfg.MODEL.ROTATION = CfgNode()
    cfg.MODEL.ROTATION.ENABLED = True
    cfg.MODEL.ROTATION.WEIGHT = 1.0  # weight of the loss


def _add_data(cfg: CfgNode) -> None:
    # Own data without code: with TRAIN_CSV or VAL_CSV, the datasets "own_train" and "own_val" exist
    # for DATASETS.TRAIN and TEST. Rows are those of AVA; with INPUT.KIND "clips" video,label.
    cfg.DATASETS.OWN = CfgNode()
    cfg.DATASETS.OWN.TRAIN_CSV = ""
    cfg.DATASETS.OWN.VAL_CSV = ""
    cfg.DATASETS.OWN.LABEL_MAP = ""  # actions; of clips a class a line, "": the labels of each csv
    cfg.DATASETS.OWN.VIDEOS = ""  # folder of the videos
    # Whether a training first compares all seconds with the lengths of the videos.
    cfg.DATASETS.CHECK_SECONDS = True
    # Of each video, every n-th keyframe is trained or tested on: where each frame is annotated,
    # neighbours are alike. At test for such datasets only (tubes, AVA-ActiveSpeaker), where the
    # other frames are not scored either.
    cfg.DATASETS.KEYFRAME_STRIDE_TRAIN = 1
    cfg.DATASETS.KEYFRAME_STRIDE_TEST = 1
    # Person boxes (csv with a score): DATASETS.PROPOSAL_FILES_{TRAIN,TEST}, one per dataset, or
    # those that the dataset was registered with. Boxes with a lower score are dropped, 0..1.
    cfg.DATASETS.PROPOSAL_MIN_SCORE_TRAIN = 0.9
    cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST = 0.8
    # Fraction of unreadable clips above which training stops, 0..1. They are logged and replaced.
    cfg.DATALOADER.MAX_BAD_CLIPS = 0.05
    # Seconds without a batch after which a loader worker counts as hung, and the run ends with the
    # name of its clip; 0 for no limit.
    cfg.DATALOADER.TIMEOUT_SEC = 600
    # Clip classification at test: each video is scored in TEMPORAL x SPATIAL views.
    cfg.TEST.VIEWS = CfgNode()
    cfg.TEST.VIEWS.TEMPORAL = 10  # times
    cfg.TEST.VIEWS.SPATIAL = 3  # crops at each time
    # Evaluations before the last iteration (TEST.EVAL_PERIOD): number of times, with the centre
    # crop alone; 0: the views of TEST.VIEWS.
    cfg.TEST.VIEWS_IN_TRAINING = 1
    # Keyframes, or times of clips, in a forward of each process. All crops of a time go together.
    cfg.TEST.BATCH_SIZE = 1
    # Precise batch-norm statistics: whether DropPathway is off meanwhile, as at test. False: as in
    # training, whose statistics mix steps with and without audio.
    cfg.TEST.PRECISE_BN.KEEP_AUDIO = False
    # EPIC-Kitchens: score actions also with the training set's P(noun | verb).
    cfg.TEST.EPIC_PRIOR = False
    # Audio at test: "normal", "mute" (silence), "swap" (audio of another clip).
    cfg.TEST.AUDIO_MODE = "normal"
    # Whether test clips have hard negatives, as INPUT.AUDIO.NEGATIVES; for models without labels.
    cfg.TEST.AUDIO_NEGATIVES = False
    # Matching rules of the AVA evaluation: "default" or "activitynet".
    cfg.TEST.AVA_PROTOCOL = "default"
