//! llama.cpp's logits, from a program that writes them.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::Context;

/// The process, and what it writes.
pub(crate) struct Logits {
    process: Child,
    output: ChildStdout,
}

impl Logits {
    /// Starts it on the texts. `step` tokens go through the model at a time.
    pub(crate) fn start(
        program: &Path,
        model: &Path,
        step: usize,
        threads: NonZeroUsize,
        texts: &[Vec<u32>],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .arg(model)
            .args([step.to_string(), "off".into(), threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut input = process.stdin.take().context("the process has no input")?;
        let output = process.stdout.take().context("the process has no output")?;
        let mut lines = String::new();
        for id in texts.iter().flat_map(|text| text.iter().map(Some).chain([None])) {
            match id {
                Some(id) => write!(lines, "{id} ")?,
                None => lines.push('\n'),
            }
        }
        // It reads a line when it has written the logits of the one before. Should
        // it end early, the missing logits say so.
        thread::spawn(move || drop(input.write_all(lines.as_bytes())));
        Ok(Self { process, output })
    }

    /// The next `numbers` numbers.
    pub(crate) fn read(&mut self, numbers: usize, out: &mut Vec<f32>) -> anyhow::Result<()> {
        let mut bytes = vec![0; numbers * size_of::<f32>()];
        self.output.read_exact(&mut bytes).context("llama.cpp's logits end early")?;
        out.clear();
        out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }
}

impl Drop for Logits {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
