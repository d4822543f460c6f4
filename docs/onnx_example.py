"""Score a person: python onnx_example.py model.onnx video.mp4 SECOND X1 Y1 X2 Y2 (box in 0..1)."""

import json
import sys

import av
import numpy as np
import onnxruntime

model, video = onnxruntime.InferenceSession(sys.argv[1]), sys.argv[2]
m = {k: json.loads(text) for k, text in model.get_modelmeta().custom_metadata_map.items()}
step, rate, mels = m["stride"] / m["fps"], m["sample_rate"], np.array(m["mel_filters"])
times = float(sys.argv[3]) + (np.arange(m["num_frames"]) - m["num_frames"] / 2) * step
with av.open(video) as file:  # the frame on screen at each time
    zero, to_mono = (file.start_time or 0) / av.time_base, av.AudioResampler("flt", "mono", rate)
    seen = [f for f in file.decode(video=0) if f.time - zero <= times[-1] + 1e-6]
    shown = np.searchsorted([f.time - zero for f in seen], times + 1e-6, side="right") - 1
    frames = np.stack([seen[max(i, 0)].to_ndarray(format="rgb24") for i in shown]) / np.float32(1)
scale = min(m["min_size"] / min(frames.shape[1:3]), m["max_size"] / max(frames.shape[1:3]))
for axis in (1, 2):  # bilinear: rows, then columns
    old, new = frames.shape[axis], int(frames.shape[axis] * scale + 0.5)
    place = ((np.arange(new, dtype=np.float32) + 0.5) * old / new - 0.5).clip(0, old - 1)
    low, high = (frames.take(np.minimum(place.astype(int) + i, old - 1), axis) for i in (0, 1))
    frames = low + (high - low) * (place % 1).reshape(-1, *[1] * (3 - axis))
sound = np.zeros(round(m["num_frames"] * step * rate), np.float32)  # of the span of the frames
with av.open(video) as file:
    decoded = file.decode(audio=0) if file.streams.audio else ()
    for x in (x for frame in decoded for x in to_mono.resample(frame)):
        k = round((x.time - zero - times[0] - m["audio_offset_sec"]) * rate) + np.arange(x.samples)
        sound[k[(k >= 0) & (k < len(sound))]] = x.to_ndarray()[0, (k >= 0) & (k < len(sound))]
sound *= (is_loud := np.abs(sound).max() >= m["silence_peak"])
windows = np.lib.stride_tricks.sliding_window_view(sound, 2 * len(mels) - 2)
windows = windows[:: round(m["hop_sec"] * rate)] * np.hanning(2 * len(mels) - 1)[:-1]
audio = np.log(np.abs(np.fft.rfft(windows)) ** 2 @ mels + m["log_offset"]).astype(np.float32)
audio = audio[np.linspace(0, len(audio) - 1, m["num_time_steps"]).round().astype(int)]
box = np.float32([0, *map(float, sys.argv[4:8])]) * np.float32([1, *frames.shape[2:0:-1] * 2])
feed = {"frames": frames.transpose(3, 0, 1, 2).round().astype(np.uint8), "audio": audio[None]}
feed |= {"has_audio": np.array(is_loud), "boxes": box}  # a model takes some of these
(s,) = model.run(["action_scores"], {x.name: feed[x.name][None] for x in model.get_inputs()})
print(*(f"{s[0, i]:.5f} {m['classes']['action'][i]}" for i in np.argsort(-s[0])), sep="\n")
