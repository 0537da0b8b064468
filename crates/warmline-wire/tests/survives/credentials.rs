//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use warmline_wire::credentials::{
    ApiKey, Request, check_audiohook, is_basic, is_bearer, is_signed_jwt, is_twilio,
};

/// Takes `bytes` as credentials of every kind, of which none is right.
pub(crate) fn credentials(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(!is_twilio("token", "wss://media.example.com/twilio", &[("a", "b")], &text));
    assert!(!is_twilio("token", &text, &[], "0p9HGYJybIvZY5ER6AdY/msz2PI="));
    assert!(!is_basic(&text, "user", "a password of which nobody knows"));
    assert!(!is_bearer(&text, "a token of which nobody knows"));
    assert!(!is_signed_jwt(&text, b"a secret of which nobody knows", 1_641_013_200));
    let lines: Vec<&str> = text.lines().collect();
    let input = lines.first().copied().unwrap_or_default();
    let signature = lines.get(1).copied().unwrap_or("sig1=:AAAA:");
    let headers = [
        ("Host", "audiohook.example.com"),
        ("Audiohook-Organization-Id", "d7934305-0972-4844-938e-9060eef73d05"),
        ("Audiohook-Session-Id", "30b0e395-84d3-4570-ac13-9a62d8f514c0"),
        ("Audiohook-Correlation-Id", "e160e428-53e2-487c-977d-96989bf5c99d"),
        ("X-API-KEY", "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"),
        ("Signature-Input", input),
        ("Signature", signature),
    ];
    let request = Request { target: "/api/v1/voicebiometrics/ws", headers: &headers };
    let keys = [ApiKey { id: "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh".into(), secret: b"nobody knows".to_vec() }];
    let refused = check_audiohook(&request, &keys, 1_641_013_200).err().expect("it is not right");
    assert!(!refused.to_string().is_empty());
}
