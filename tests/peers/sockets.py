"""WebSocket clients that are not ours: Python's websockets, node's ws, Chromium. Each plays the same three calls, framed as Twilio,
Vonage and FreeSWITCH do; and what the `twilio` library signs gets in, and nothing else does."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

from house import CALLS, ROOT, Served, Skipped, caller, need, replay, same

HERE = Path(__file__).resolve().parent
NODE_MODULES = ROOT / ".venv" / "peers" / "node_modules"

# Times real time.
PACE = 4

# Twilio's and FreeSWITCH's calls have both sides, Vonage's the caller alone.
STEREO, MONO = "stereo", "mono"


def twilio(call):
    """Both tracks, µ-law, 20 ms a message."""
    codes = (CALLS / "escalating_mulaw.wav").read_bytes()
    codes = codes[codes.index(b"data") + 8:]
    sides = {"inbound": codes[0::2], "outbound": codes[1::2]}
    yield 0, {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    yield 0, {"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": {
        "accountSid": "AC1", "streamSid": "MZ1", "callSid": call, "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"notice": "consent"}}}
    sequence = 1
    for n, at in enumerate(range(0, len(sides["inbound"]), 160)):
        for track, bytes_ in sides.items():
            sequence += 1
            payload = base64.b64encode(bytes_[at:at + 160]).decode()
            yield 20 * (n + 1), {"event": "media", "sequenceNumber": str(sequence), "streamSid": "MZ1", "media": {
                "track": track, "chunk": str(n + 1), "timestamp": str(20 * n), "payload": payload}}
    yield 20 * (n + 1), {"event": "stop", "sequenceNumber": str(sequence + 1), "streamSid": "MZ1",
                         "stop": {"accountSid": "AC1", "callSid": call}}


def vonage(call):
    """Linear samples of the caller's leg; the headers of the NCCO say which call."""
    yield 0, {"event": "websocket:connected", "content-type": "audio/l16;rate=8000", "uuid": call, "notice": "consent"}
    with tempfile.TemporaryDirectory() as folder, wave.open(str(caller(folder))) as wav:
        n = 0
        while samples := wav.readframes(160):
            n += 1
            yield 20 * n, samples


def freeswitch(call):
    """mod_audio_fork, stereo."""
    yield 0, {"callSid": call, "sampleRate": 8000, "mixType": "stereo", "notice": "consent"}
    with wave.open(str(CALLS / "escalating.wav")) as wav:
        n = 0
        while samples := wav.readframes(160):
            n += 1
            yield 20 * n, samples


FRAMINGS = {
    twilio: ("/v1/media/twilio", None, STEREO),
    vonage: ("/v1/media", None, MONO),
    freeswitch: ("/v1/media", "audio.drachtio.org", STEREO),
}


def script(served, framing, call):
    """What a client must know to play a call: the address, the subprotocol, and what to send when (milliseconds)."""
    path, subprotocol, _ = FRAMINGS[framing]
    frames = []
    for at, message in framing(call):
        binary = isinstance(message, bytes)
        frames.append([at / PACE, "binary" if binary else "text",
                       base64.b64encode(message).decode() if binary else json.dumps(message)])
    return {"url": f"ws://{served.address}{path}", "subprotocol": subprotocol, "frames": frames}


def python(folder, plan):
    plan = json.loads(plan.read_text())

    async def play():
        import websockets
        subprotocols = [plan["subprotocol"]] if plan["subprotocol"] else None
        async with websockets.connect(plan["url"], subprotocols=subprotocols) as socket:
            assert socket.subprotocol == plan["subprotocol"]
            loop = asyncio.get_running_loop()
            began = loop.time()
            for at, kind, data in plan["frames"]:
                await asyncio.sleep(max(0.0, began + at / 1000 - loop.time()))
                await socket.send(base64.b64decode(data) if kind == "binary" else data)

    asyncio.run(play())


def node(folder, plan):
    need("node")
    if not (NODE_MODULES / "ws").is_dir():
        raise Skipped("node's ws is not installed")
    client = Path(folder) / "play.mjs"
    shutil.copy(HERE / "play.mjs", client)
    if not (Path(folder) / "node_modules").exists():
        (Path(folder) / "node_modules").symlink_to(NODE_MODULES)
    subprocess.run(["node", client, plan], check=True, timeout=120)


def chromium(folder, plan):
    browser = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    if not browser:
        raise Skipped("there is no chromium")
    page = Path(folder) / f"{plan.stem}.html"
    page.write_text((HERE / "play.html").read_text().replace("PLAN", plan.read_text().replace("</", "<\\/")))
    profile = Path(folder) / f"{plan.stem}-profile"
    # The page's title says when it is over; --dump-dom would not wait for it.
    return subprocess.Popen(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-timer-throttling",
         "--remote-debugging-port=0", f"--user-data-dir={profile}", page.as_uri()],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def played_by(client):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Served() as served:
        expected = {
            STEREO: replay(CALLS / "escalating.wav", "--notice", "consent"),
            MONO: replay(caller(folder), "--caller-channel", "mono", "--notice", "consent"),
        }
        for framing, (_, _, tracks) in FRAMINGS.items():
            call = f"{client.__name__}-{framing.__name__}"
            plan = Path(folder) / f"{call}.json"
            plan.write_text(json.dumps(script(served, framing, call)))
            running = client(folder, plan)
            try:
                live = served.call(call)
            finally:
                if running:
                    running.terminate()
                    running.wait()
            assert served.metric("packets_dropped_total") == 0
            same(live, expected[tracks])


def test_pythons_websockets_says_what_replay_says():
    played_by(python)


def test_nodes_ws_says_what_replay_says():
    played_by(node)


def test_chromium_says_what_replay_says():
    played_by(chromium)


TOKEN = "0123456789abcdef0123456789abcdef"
SIGNED = """public_url = "wss://media.example.com"
[media.twilio]
signing_key = { env = "PEERS_TWILIO" }
"""


def test_what_the_twilio_library_signs_gets_in_and_nothing_else_does():
    import websockets
    from twilio.request_validator import RequestValidator
    path = "/v1/media/twilio?queue=billing"
    sign = RequestValidator(TOKEN).compute_signature

    async def connect(address, signature):
        headers = {"x-twilio-signature": signature} if signature else {}
        async with websockets.connect(f"ws://{address}{path}", additional_headers=headers) as socket:
            for at, message in twilio("signed"):
                if at > 200:
                    break
                await socket.send(json.dumps(message))

    with Served(SIGNED, {"PEERS_TWILIO": TOKEN}) as served:
        wrong = {
            "none": None,
            "of nothing": "AAAA",
            "another token's": RequestValidator("f" * 32).compute_signature(f"wss://media.example.com{path}", {}),
            "another scheme's": sign(f"https://media.example.com{path}", {}),
            "another host's": sign(f"wss://media.example.org{path}", {}),
            "another path's": sign("wss://media.example.com/v1/media", {}),
        }
        for n, (which, signature) in enumerate(wrong.items()):
            try:
                asyncio.run(connect(served.address, signature))
                raise AssertionError(f"a signature that is {which} gets in")
            except websockets.InvalidStatus as refused:
                assert refused.response.status_code == 401, which
        assert served.metric('unauthorised_total{protocol="twilio"}') == len(wrong)
        asyncio.run(connect(served.address, sign(f"wss://media.example.com{path}", {})))
        served.call("signed", 10)
