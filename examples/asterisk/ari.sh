#!/bin/sh
# ari.sh CHANNEL PORT: two snoops of a channel in Stasis, each to an RTP port of Warmline: what comes from the caller to PORT,
# and what the caller hears to the second behind it. ARI_URL is http://user:password@127.0.0.1:8088/ari.
# An application must be connected to ARI as `warmline` before the call comes (ws://…/ari/events?app=warmline).
# Without it, Stasis(warmline) fails and there is no channel to snoop.
# On Asterisk's default channel storage no channel's id may be the beginning of another's. So an id here begins with its
# own word and ends in `-end`: `…-1795324389.1` would be the beginning of `…-1795324389.14`.
set -eu
channel=$1 port=$2
post() { curl --fail-with-body --silent --show-error -X POST "$ARI_URL/$1"; echo; }
side() { # side NAME SPY PORT
  snoop="snoop-$1-$channel-end" media="media-$1-$channel-end" bridge="bridge-$1-$channel-end"
  post "channels/$channel/snoop?app=warmline&spy=$2&whisper=none&snoopId=$snoop"
  post "channels/externalMedia?app=warmline&channelId=$media&external_host=127.0.0.1:$3&format=ulaw&encapsulation=rtp&transport=udp&direction=both"
  post "bridges?type=mixing&bridgeId=$bridge"
  post "bridges/$bridge/addChannel?channel=$snoop,$media"
}
side caller in "$port"
side agent out "$((port + 2))"
