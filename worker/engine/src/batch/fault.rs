//! Steps that fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hearth_program::{Answers, Program, Row, StepError};

/// How a step failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The program said so.
    Error(StepError),
    /// It panicked; what it holds of the device is in an unknown state.
    Panic(StepError),
}

impl Fault {
    pub(crate) fn into_error(self) -> StepError {
        match self {
            Self::Error(error) | Self::Panic(error) => error,
        }
    }
}

/// Tensor libraries tell some faults of a device by panicking. Caught, so that
/// every request that runs gets an answer before the thread ends.
pub(crate) fn step_caught<P: Program>(
    program: &mut P,
    rows: &[Row<'_>],
    answers: &mut Answers,
) -> Result<(), Fault> {
    match catch_unwind(AssertUnwindSafe(|| program.step(rows, answers))) {
        Ok(Ok(())) => {
            let whole = answers.rows() == rows.len()
                && rows.iter().enumerate().all(|(at, row)| answers.count(at) == row.answers());
            if whole {
                return Ok(());
            }
            let message = format!("{} answers for {} rows", answers.rows(), rows.len());
            Err(Fault::Error(StepError { message }))
        }
        Ok(Err(error)) => Err(Fault::Error(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Fault::Panic(StepError { message: text.unwrap_or_else(|| "it panicked".into()) }))
        }
    }
}
