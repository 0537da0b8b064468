//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use warmline_core::policy::Policy;

/// Reads `bytes` as a policy file: it is refused with a line of the file and a reason, or its rules can be kept.
pub(crate) fn policy(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    match Policy::parse(&source) {
        Ok(policy) => {
            assert!(!policy.version().trim().is_empty() && policy.sha256().len() == 64);
            for queue in [None, Some("billing")] {
                let rules = policy.rules_for(queue, None);
                assert!(rules.exit <= rules.enter, "{rules:?}");
            }
        }
        Err(refused) => {
            let lines = 1 + source.matches('\n').count();
            assert!((1..=lines).contains(&refused.line), "{refused}, and the file has {lines} lines");
            assert!(!refused.reason.is_empty());
        }
    }
}
