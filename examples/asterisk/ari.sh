#!/bin/sh
# ari.sh CHANNEL PORT: two snoops of a channel in Stasis, each to an RTP port of Warmline: what comes from the caller to PORT,
# and what the caller hears to the second behind it. ARI_URL is http://user:password@127.0.0.1:8088/ari.
set -eu
channel=$1 port=$2
post() { curl --fail-with-body --silent --show-error -X POST "$ARI_URL/$1"; echo; }
side() { # side NAME SPY PORT
  post "channels/$channel/snoop?app=warmline&spy=$2&whisper=none&snoopId=$channel-$1-snoop"
  post "channels/externalMedia?app=warmline&channelId=$channel-$1&external_host=127.0.0.1:$3&format=ulaw&encapsulation=rtp&transport=udp&direction=both"
  post "bridges?type=mixing&bridgeId=$channel-$1-bridge"
  post "bridges/$channel-$1-bridge/addChannel?channel=$channel-$1-snoop,$channel-$1"
}
side caller in "$port"
side agent out "$((port + 2))"
