#!/bin/sh
# streaming_start.sh CALL_CONTROL_ID: asks Telnyx to fork a live call to Warmline.
set -eu
curl --fail-with-body -X POST "https://api.telnyx.com/v2/calls/$1/actions/streaming_start" \
  -H "Authorization: Bearer $TELNYX_API_KEY" -H "Content-Type: application/json" \
  --data "@$(dirname "$0")/streaming_start.json"
