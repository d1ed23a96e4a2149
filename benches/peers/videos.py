"""What people write to get 224 x 224 rows of videos into a memory-mapped array, with one library each, as fast as that library does it.

Started with the library's name and kept running: whatever takes time before the first video (imports, starting a pool) is over
when it says "ready". Then each line of its input is a job, as JSON, and is answered with the seconds that it took.

| key of a job | |
|---|---|
| `videos` | paths: a single one is decoded in as many threads as there are cores, several in as many processes |
| `rows` | of each video |
| `out` | the array, a .npy file that is there already, with room for all; it is synced in the end |
| `way` | `all`; `all, smoothing`, of OpenCV; `all and keep`: all are decoded, and those at `times` are kept; `by time`: by what the library has for it |
| `times` | seconds; of one video |
"""

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

SIDE = 224
CORES = os.cpu_count()


def pyav(video, rows, threads, way, times):
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        made = av.video.reformatter.VideoReformatter()

        def put(number, frame):
            rows[number] = made.reformat(frame, SIDE, SIDE, "rgb24", interpolation="BILINEAR").to_ndarray()

        if way == "all":
            for number, frame in enumerate(container.decode(stream)):
                put(number, frame)
        elif way == "keyframes":
            stream.codec_context.skip_frame = "NONKEY"
            for number, frame in enumerate(container.decode(stream)):
                put(number, frame)
        elif way == "all and keep":
            number = 0
            for frame in container.decode(stream):
                if number < len(times) and frame.time >= times[number] - 1e-3:
                    put(number, frame)
                    number += 1
        else:
            for number, moment in enumerate(times):
                container.seek(int(moment / stream.time_base), stream=stream)
                for frame in container.decode(stream):
                    if frame.time >= moment - 1e-3:
                        put(number, frame)
                        break


def opencv(video, rows, threads, way, times):
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    rate = capture.get(cv2.CAP_PROP_FPS)
    interpolation = cv2.INTER_AREA if way == "all, smoothing" else cv2.INTER_LINEAR

    def put(number, frame):
        small = cv2.resize(frame, (SIDE, SIDE), interpolation=interpolation)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=rows[number])

    if way in ("all", "all, smoothing"):
        number = 0
        while (read := capture.read())[0]:
            put(number, read[1])
            number += 1
    elif way == "all and keep":
        at = 0
        for number, moment in enumerate(times):
            while capture.grab():
                at += 1
                if at > round(moment * rate):
                    put(number, capture.retrieve()[1])
                    break
    else:
        for number, moment in enumerate(times):
            capture.set(cv2.CAP_PROP_POS_MSEC, moment * 1000)
            put(number, capture.read()[1])


def decord_(video, rows, threads, way, times):
    reader = decord.VideoReader(video, width=SIDE, height=SIDE, num_threads=threads)
    if way == "by time":
        rate = reader.get_avg_fps()
        rows[:] = reader.get_batch([round(moment * rate) for moment in times]).asnumpy()
        return
    number = 0
    for start in range(0, len(reader), 32):
        batch = range(start, min(start + 32, len(reader)))
        if way == "all":
            rows[start:batch.stop] = reader.get_batch(batch).asnumpy()


def torchcodec_(video, rows, threads, way, times):
    decoder = decoders.VideoDecoder(video, dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="approximate",
                                    transforms=[transforms.Resize((SIDE, SIDE))])
    if way == "by time":
        rows[:] = decoder.get_frames_played_at(times).data.numpy()
        return
    for start in range(0, len(decoder), 32):
        end = min(start + 32, len(decoder))
        rows[start:end] = decoder.get_frames_in_range(start, end).data.numpy()


def one(name, video, out, first, rows, threads, way, times):
    LIBRARIES[name](video, np.load(out, mmap_mode="r+")[first:first + rows], threads, way, times)


LIBRARIES = {"pyav": pyav, "opencv": opencv, "decord": decord_, "torchcodec": torchcodec_}

if __name__ == "__main__":
    library = sys.argv[1]
    if library == "pyav":
        import av
        import av.video.reformatter
    elif library == "opencv":
        import cv2
    elif library == "decord":
        import decord
    else:
        from torchcodec import decoders, transforms
    with ProcessPoolExecutor(CORES) as pool:
        for waiting in [pool.submit(time.sleep, 0.1) for _ in range(CORES)]:
            waiting.result()
        print("ready", flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            start = time.perf_counter()
            videos, count = job["videos"], job["rows"]
            if len(videos) == 1:
                one(library, videos[0], job["out"], 0, count, CORES, job["way"], job["times"])
            else:
                for done in [pool.submit(one, library, video, job["out"], number * count, count, 1, job["way"], None)
                             for number, video in enumerate(videos)]:
                    done.result()
            with open(job["out"], "r+b") as out:
                os.fdatasync(out)
            print(time.perf_counter() - start, flush=True)
