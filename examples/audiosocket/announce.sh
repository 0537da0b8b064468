#!/bin/sh
# announce.sh UUID: the call of this UUID may come, once, within two minutes.
set -eu
curl --fail-with-body -X POST "http://127.0.0.1:8080/api/v1/audiosocket/$1" -H "Authorization: Bearer $WARMLINE_TOKEN" \
  --data '{"queue":"billing","notice":"notice"}'
