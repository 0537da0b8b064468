#!/bin/sh
# gstreamer.sh CALL.wav [PORT]: the same by GStreamer, in PCMA; without max-ptime a packet holds 175 ms.
set -eu
port=${2:-22000}
exec gst-launch-1.0 -q filesrc "location=$1" ! wavparse ! deinterleave name=sides sides.src_0 ! audioconvert ! audioresample \
  ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay pt=8 min-ptime=20000000 max-ptime=20000000 ! udpsink host=127.0.0.1 "port=$port"
