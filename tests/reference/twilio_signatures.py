#!/usr/bin/env python3
"""What Twilio's own library computes for X-Twilio-Signature, as the vectors of `wire/credentials.rs`.

    pip install twilio==9.13.0
    tests/reference/twilio_signatures.py > fixtures/wire/twilio/signatures.json

Before it writes a vector it asks the library's validator whether it accepts it.
"""
import json

from twilio.request_validator import RequestValidator

FORM = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309", "To": "+18005551212"}
REQUESTS = [
    ("12345", "wss://media.example.com/twilio", {}),
    ("12345", "wss://media.example.com/twilio/", {}),
    ("12345", "wss://media.example.com:443/twilio", {}),
    ("12345", "wss://media.example.com/twilio?a=1&b=2", {}),
    ("12345", "wss://media.example.com:8443/v1/media", {}),
    ("0123456789abcdef0123456789abcdef", "wss://media.example.com/v1/media/twilio", {}),
    ("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", FORM),
    ("12345", "https://mycompany.com/status", {"b": "2", "a": "1", "Z": "", "ä": "ü €"}),
]

vectors = []
for token, url, form in REQUESTS:
    validator = RequestValidator(token)
    signature = validator.compute_signature(url, form)
    assert validator.validate(url, form, signature), url
    vectors.append({"token": token, "url": url, "parameters": sorted(form.items()), "signature": signature})
print(json.dumps(vectors, indent=1, ensure_ascii=False))
