//! The words that ntp.conf knows, and what becomes of each.

use super::inactive::Feature;

/// What becomes of a word.
#[derive(Debug)]
pub(super) enum Policy<T: 'static> {
    /// It does what it says.
    Honour(T),
    /// It is skipped, with the `values` that follow it, and one warning says why.
    Accept { values: usize },
    /// Its line is dropped, and an error says why.
    Reject,
}

/// A word, what becomes of it, and the words for the operator: what it means, or why it has no effect.
#[derive(Debug)]
pub(super) struct Word<T: 'static> {
    pub(super) name: &'static str,
    pub(super) policy: Policy<T>,
    /// What it asks for, if that is not active yet.
    pub(super) inactive: Option<&'static Feature>,
    pub(super) meaning: &'static str,
}

/// The words that may stand in one place.
#[derive(Debug)]
pub(super) struct Vocabulary<T: 'static> {
    /// What such a word is called, in the singular.
    pub(super) what: &'static str,
    pub(super) words: &'static [Word<T>],
}

pub(super) const fn honour<T>(name: &'static str, value: T, meaning: &'static str) -> Word<T> {
    Word { name, policy: Policy::Honour(value), inactive: None, meaning }
}

/// Honoured, once `feature` is active.
pub(super) const fn later<T>(
    name: &'static str,
    value: T,
    meaning: &'static str,
    feature: &'static Feature,
) -> Word<T> {
    Word { name, policy: Policy::Honour(value), inactive: Some(feature), meaning }
}

pub(super) const fn accept<T>(name: &'static str, values: usize, why: &'static str) -> Word<T> {
    Word { name, policy: Policy::Accept { values }, inactive: None, meaning: why }
}

pub(super) const fn reject<T>(name: &'static str, why: &'static str) -> Word<T> {
    Word { name, policy: Policy::Reject, inactive: None, meaning: why }
}

impl<T> Vocabulary<T> {
    /// The entry of `name`; words are case-sensitive, as in ntpd.
    pub(super) fn find(&self, name: &str) -> Option<&'static Word<T>> {
        self.words.iter().find(|word| word.name == name)
    }

    /// The word that looks most like `unknown`, if one does.
    pub(super) fn suggest(&self, unknown: &str) -> Option<&'static str> {
        // Longer than any word by far: nothing to compare, and the distance would take long.
        const LONGEST: usize = 32;
        if unknown.len() > LONGEST {
            return None;
        }
        let unknown = unknown.to_ascii_lowercase();
        let distance = |name: &str| strsim::damerau_levenshtein(&unknown, name);
        let near = |&(distance, name): &(usize, &str)| distance <= (name.len() / 3).max(1);
        let names = self.words.iter().map(|word| word.name);
        let nearest =
            names.clone().map(|name| (distance(name), name)).filter(near).min().map(|(_, name)| name);
        // As in "netmask".
        nearest.or_else(|| names.filter(|name| name.len() > 3).find(|name| unknown.contains(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{association, directive, restrict};

    #[test]
    fn similar_words_are_suggested_and_others_are_not() {
        assert_eq!(association::OPTIONS.suggest("ibrust"), Some("iburst"));
        assert_eq!(association::OPTIONS.suggest("perfer"), Some("prefer"));
        assert_eq!(association::OPTIONS.suggest("IBURST"), Some("iburst"));
        assert_eq!(restrict::FLAGS.suggest("netmask"), Some("mask"));
        assert_eq!(restrict::FLAGS.suggest("no-query"), Some("noquery"));
        assert_eq!(directive::DIRECTIVES.suggest("drift-file"), Some("driftfile"));
        assert_eq!(directive::DIRECTIVES.suggest("makestep"), None);
        assert_eq!(directive::DIRECTIVES.suggest(""), None);
        assert_eq!(directive::DIRECTIVES.suggest(&"x".repeat(1000)), None);
    }
}
