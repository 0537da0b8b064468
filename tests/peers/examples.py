"""examples/: the TwiML is what the twilio library writes, and the RTP senders play a call that is heard."""

import subprocess
import xml.etree.ElementTree as xml

from house import CALLS, ROOT, RTP_FIRST, RTP_LAST, Served, need, replay, same_transfers
from rtp import CONFIG

EXAMPLES = ROOT / "examples"


def tree(element):
    """Name, attributes, text and children, without the white space between them."""
    return element.tag, sorted(element.attrib.items()), (element.text or "").strip(), [tree(child) for child in element]


def test_the_twiml_is_what_the_twilio_library_writes():
    from twilio.twiml.voice_response import Connect, Dial, Start, Stream, VoiceResponse
    fork = VoiceResponse()
    fork.say("This call is analysed to find out whether you need a person.")
    start = Start()
    stream = Stream(name="warmline", url="wss://media.example.com/v1/media/twilio", track="both_tracks")
    stream.parameter(name="queue", value="billing")
    stream.parameter(name="intent", value="disputed_medical_bill")
    stream.parameter(name="notice", value="notice")
    start.append(stream)
    fork.append(start)
    dial = Dial()
    dial.sip("sip:bot@bots.example.com")
    fork.append(dial)
    connected = VoiceResponse()
    connect = Connect()
    stream = connect.stream(url="wss://media.example.com/v1/media/twilio")
    stream.parameter(name="queue", value="billing")
    stream.parameter(name="notice", value="notice")
    connected.append(connect)
    dial = Dial()
    dial.queue("people")
    connected.append(dial)
    for file, written in (("fork.xml", fork), ("connect.xml", connected)):
        assert tree(xml.parse(EXAMPLES / "twilio" / file).getroot()) == tree(xml.fromstring(str(written))), file


def test_the_rtp_senders_play_a_call():
    need("ffmpeg", "gst-launch-1.0")
    # Ports of its own: rtp.py plays beside it.
    first = RTP_LAST + 31
    config = CONFIG.replace(f"[{RTP_FIRST}, {RTP_LAST}]", f"[{first}, {first + 3}]")
    ports = {"ffmpeg.sh": first, "gstreamer.sh": first + 2}
    wav = CALLS / "escalating.wav"
    with Served(config) as served:
        sending = {name: subprocess.Popen([EXAMPLES / "rtp" / name, wav, str(port)]) for name, port in ports.items()}
        expected = replay(wav)
        try:
            for name, port in ports.items():
                same_transfers(served.call(f"rtp-{port}-"), expected)
        finally:
            for sender in sending.values():
                sender.kill()
                sender.wait()
