"""RTP senders that are not ours: ffmpeg, GStreamer, SIPp. Every codec; each a call of its own port."""

import subprocess
import tempfile
from pathlib import Path

from house import RTP_FIRST, RTP_LAST, Served, caller, need, replay, same, same_transfers

HERE = Path(__file__).resolve().parent

CONFIG = f"""
[media.rtp]
ports = [{RTP_FIRST}, {RTP_LAST}]
silence_s = 2
notice = "consent"
payload_types = {{ 96 = "L16/8000", 97 = "opus/48000/2", 98 = "L16/16000" }}
"""

# Codecs whose samples come out as they went in: the fixture has been through G.711 µ-law.
LOSSLESS = {"PCMU", "L16"}

FFMPEG = {
    "PCMU": ["-c:a", "pcm_mulaw", "-payload_type", "0"],
    "PCMA": ["-c:a", "pcm_alaw", "-payload_type", "8"],
    "L16": ["-c:a", "pcm_s16be", "-payload_type", "96"],
    "L16 at 16 kHz": ["-ar", "16000", "-c:a", "pcm_s16be", "-payload_type", "98"],
    "G.722": ["-ar", "16000", "-c:a", "g722", "-payload_type", "9"],
    "Opus": ["-ar", "48000", "-c:a", "libopus", "-b:a", "32k", "-application", "voip", "-payload_type", "97"],
}
# 20 ms a packet, with the twelve bytes of the header.
PACKET = {"PCMU": 172, "PCMA": 172, "L16": 332, "L16 at 16 kHz": 652, "G.722": 172, "Opus": 1200}

TWENTY_MS = "min-ptime=20000000 max-ptime=20000000"
GSTREAMER = {
    "PCMU": f"mulawenc ! rtppcmupay pt=0 {TWENTY_MS}",
    "PCMA": f"alawenc ! rtppcmapay pt=8 {TWENTY_MS}",
    "L16": f"audio/x-raw,format=S16BE,rate=8000 ! rtpL16pay pt=96 {TWENTY_MS}",
    "G.722": f"audioresample ! audio/x-raw,rate=16000 ! avenc_g722 ! rtpg722pay pt=9 {TWENTY_MS}",
    "Opus": "audioresample ! audio/x-raw,rate=48000 ! opusenc audio-type=voice frame-size=20 ! rtpopuspay pt=97",
}


def ffmpeg(wav, codec, port):
    return ["ffmpeg", "-v", "error", "-re", "-i", str(wav), *FFMPEG[codec], "-f", "rtp",
            f"rtp://127.0.0.1:{port}?pkt_size={PACKET[codec]}&rtcpport={port}"]


def gstreamer(wav, codec, port):
    line = f"filesrc location={wav} ! wavparse ! audioconvert ! {GSTREAMER[codec]} ! udpsink host=127.0.0.1 port={port}"
    return ["gst-launch-1.0", "-q", *line.split()]


def test_every_codec_of_ffmpeg_and_gstreamer_says_what_replay_says():
    need("ffmpeg", "gst-launch-1.0")
    with tempfile.TemporaryDirectory() as folder, Served(CONFIG) as served:
        wav = caller(folder)
        expected = replay(wav, "--caller-channel", "mono", "--notice", "consent")
        senders = [(ffmpeg, codec) for codec in FFMPEG] + [(gstreamer, codec) for codec in GSTREAMER]
        # Every other port: a sender's RTCP may go to the next.
        sent = [(sender.__name__, codec, RTP_FIRST + 2 * n, sender(wav, codec, RTP_FIRST + 2 * n))
                for n, (sender, codec) in enumerate(senders)]
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for *_, command in sent]
        faults = []
        for (name, codec, port, _), sender in zip(sent, running):
            try:
                live = served.call(f"rtp-{port}-")
                assert sender.wait(30) == 0, f"{name} failed"
                if codec in LOSSLESS:
                    same(live, expected)
                else:
                    same_transfers(live, expected)
            except AssertionError as fault:
                faults.append(f"{name}, {codec}: {fault}")
        for sender in running:
            sender.kill()
        assert not faults, "\n".join(faults)
        assert served.metric("packets_dropped_total") == 0


def test_a_call_of_sipp_says_what_replay_says():
    """One SIPp answers with the address of Warmline's port, the other calls it and plays the caller there."""
    need("sipp", "ffmpeg")
    port, sip = RTP_LAST - 1, RTP_LAST + 11
    with tempfile.TemporaryDirectory() as folder, Served(CONFIG) as served:
        wav = caller(folder)
        raw = Path(folder) / "caller.ulaw"
        subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-f", "mulaw", raw], check=True)
        common = ["-i", "127.0.0.1", "-m", "1", "-nostdin", "-key", "media_at", str(port)]
        answering = subprocess.Popen(
            ["sipp", "-sf", HERE / "answer.xml", "-p", str(sip), *common],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        calling = subprocess.Popen(
            ["sipp", "-sf", HERE / "call.xml", "-p", str(sip + 1), "-mi", "127.0.0.1", "-mp", str(RTP_LAST + 21),
             *common, f"127.0.0.1:{sip}"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            live = served.call(f"rtp-{port}-")
        finally:
            calling.kill()
            answering.kill()
        same_transfers(live, replay(wav, "--caller-channel", "mono", "--notice", "consent"))
