//! What a dataset was made with, as its ledger remembers it.

/// The config's keys that determine the meaning of rows already written, in canonical form, and the column files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSchema {
    /// `(key, value)`, from the config's `Dataset::fingerprint`.
    pub settings: Vec<(String, String)>,
    /// Names of the column files, in the order of their checksums.
    pub columns: Vec<String>,
}

impl LedgerSchema {
    /// Each setting that differs: key, value in the ledger, value now (`None`: the key is not there).
    pub fn differences(&self, now: &Self) -> Vec<(String, Option<String>, Option<String>)> {
        let value = |settings: &[(String, String)], key: &str| {
            settings.iter().find(|(candidate, _)| candidate == key).map(|(_, value)| value.clone())
        };
        let mut keys: Vec<&String> = self.settings.iter().map(|(key, _)| key).collect();
        for (key, _) in &now.settings {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.into_iter()
            .filter_map(|key| {
                let (was, is) = (value(&self.settings, key), value(&now.settings, key));
                (was != is).then(|| (key.clone(), was, is))
            })
            .collect()
    }
}
