//! Logits, and what they were before something changed them.

/// Logits whose changes can be looked up, for the ones that are few.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    logits: &'a mut [f32],
    before: &'a mut Vec<(u32, f32)>,
}

impl<'a> Edits<'a> {
    /// `before` is emptied first.
    pub(crate) fn new(logits: &'a mut [f32], before: &'a mut Vec<(u32, f32)>) -> Self {
        before.clear();
        Self { logits, before }
    }

    /// Changes the logit of one token; of one that there is not, nothing.
    pub(crate) fn change(&mut self, id: u32, change: impl FnOnce(f32) -> f32) {
        if let Some(logit) = self.logits.get_mut(id as usize) {
            self.before.push((id, *logit));
            *logit = change(*logit);
        }
    }
}

/// What a logit was before the first change.
pub(crate) fn original(logits: &[f32], before: &[(u32, f32)], id: u32) -> Option<f32> {
    let changed = before.iter().find(|(changed, _)| *changed == id).map(|(_, logit)| *logit);
    changed.or_else(|| logits.get(id as usize).copied())
}
