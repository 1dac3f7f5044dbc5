//! What reads the requests of one model before the device does.

use std::sync::Arc;

use hearth_sample::{Guide, Picker, Plan, Vocabulary};
use hearth_text::TextModel;

use crate::api::{Request, RequestError, Shortcuts, Stop};

/// The text side of a loaded model, and what turns grammars into constraints on
/// its tokens.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) text: Arc<TextModel>,
    guide: Guide,
}

/// A request in the terms of the device's thread.
pub(crate) struct Read {
    pub(crate) prompt: Vec<u32>,
    pub(crate) picker: Picker,
    pub(crate) stop: Stop,
    pub(crate) shortcuts: Shortcuts,
}

impl Reader {
    pub(crate) fn new(text: Arc<TextModel>) -> Self {
        Self { guide: Guide::new(Arc::new(Tokens(Arc::clone(&text)))), text }
    }

    /// Reads a request. A constraint is compiled, which takes
    /// [`Guide::STACK_BYTES`] of stack.
    pub(crate) fn read(&self, request: Request) -> Result<Read, RequestError> {
        request.check()?;
        let Request { input, sampling, stop, constraint, shortcuts } = request;
        let prompt = self.text.prompt(&input)?;
        let plan = Plan {
            sampling,
            spare_seed: rand::random(),
            prompt_len: prompt.len(),
            min_tokens: stop.min_tokens,
            ignore_ends: stop.ignore_eos,
            constraint: constraint.map(|grammar| self.guide.compile(&grammar)).transpose()?,
        };
        let picker = Picker::new(plan, Arc::new(Tokens(Arc::clone(&self.text))))?;
        Ok(Read { prompt, picker, stop, shortcuts })
    }
}

/// A model's tokens, as sampling sees them.
#[derive(Debug)]
pub(crate) struct Tokens(pub(crate) Arc<TextModel>);

impl Vocabulary for Tokens {
    fn size(&self) -> usize {
        self.0.tokenizer().vocabulary()
    }

    fn bytes(&self, id: u32) -> &[u8] {
        self.0.tokenizer().bytes_of(id)
    }

    fn ends(&self) -> &[u32] {
        self.0.tokenizer().end_of_generation()
    }
}
