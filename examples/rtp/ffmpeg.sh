#!/bin/sh
# ffmpeg.sh CALL.wav [PORT]: plays the left channel of a recording, the caller, as RTP in PCMU, 20 ms a packet.
set -eu
port=${2:-22000}
exec ffmpeg -v error -re -i "$1" -af "pan=mono|c0=c0" -ar 8000 -c:a pcm_mulaw -f rtp "rtp://127.0.0.1:$port?pkt_size=172"
