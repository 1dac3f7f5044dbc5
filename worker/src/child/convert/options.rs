//! Sampling, stops and constraints of a request.

use hearth_engine::{Dry, Grammar, LogitBias, Sampling, Shortcuts, Stop};
use hearth_proto::inference::v1 as api;
use hearth_proto::inference::v1::constraint::Form;
use tonic::Status;

use crate::status;

pub(super) fn sampling(options: api::SamplingOptions) -> Sampling {
    let api::SamplingOptions {
        temperature,
        top_k,
        top_p,
        min_p,
        seed,
        typical_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        penalty_window,
        dry,
        logit_bias,
        logprobs,
    } = options;
    let default = Sampling::default();
    Sampling {
        temperature: temperature.unwrap_or(default.temperature),
        top_k: top_k.unwrap_or(default.top_k),
        top_p: top_p.unwrap_or(default.top_p),
        min_p: min_p.unwrap_or(default.min_p),
        typical_p: typical_p.unwrap_or(default.typical_p),
        repetition_penalty: repetition_penalty.unwrap_or(default.repetition_penalty),
        presence_penalty: presence_penalty.unwrap_or(default.presence_penalty),
        frequency_penalty: frequency_penalty.unwrap_or(default.frequency_penalty),
        penalty_window: penalty_window.unwrap_or(default.penalty_window),
        dry: dry.map_or(default.dry, self::dry),
        logit_bias: logit_bias.into_iter().map(bias).collect(),
        logprobs,
        seed,
    }
}

fn dry(options: api::DryOptions) -> Dry {
    let api::DryOptions { multiplier, base, allowed_length, window, sequence_breakers } = options;
    let default = Dry::default();
    Dry {
        multiplier: multiplier.unwrap_or(default.multiplier),
        base: base.unwrap_or(default.base),
        allowed_length: allowed_length.unwrap_or(default.allowed_length),
        window: window.unwrap_or(default.window),
        breakers: sequence_breakers.map_or(default.breakers, |breakers| breakers.texts),
    }
}

fn bias(api::LogitBias { token_id, bias }: api::LogitBias) -> LogitBias {
    LogitBias { id: token_id, bias }
}

pub(super) fn stop(options: api::StopOptions) -> Stop {
    let api::StopOptions { max_tokens, sequences, ignore_eos, min_tokens } = options;
    Stop {
        max_tokens,
        sequences,
        ignore_eos: ignore_eos.unwrap_or(false),
        min_tokens: min_tokens.unwrap_or(0),
    }
}

pub(super) fn shortcuts(api::Shortcuts { salt, guesses }: api::Shortcuts) -> Shortcuts {
    Shortcuts { salt, guesses }
}

pub(super) fn constraint(api::Constraint { form }: api::Constraint) -> Result<Grammar, Status> {
    match form {
        Some(Form::JsonSchema(schema)) => Ok(Grammar::JsonSchema(schema)),
        Some(Form::JsonObject(api::JsonObject {})) => Ok(Grammar::JsonObject),
        Some(Form::Regex(regex)) => Ok(Grammar::Regex(regex)),
        Some(Form::Lark(grammar)) => Ok(Grammar::Lark(grammar)),
        Some(Form::Choice(api::Choice { texts })) => Ok(Grammar::Choice(texts)),
        None => {
            let remedy = "is empty: give one of json_schema, json_object, regex, lark and choice";
            Err(status::invalid("constraint", remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_options_are_the_engines_defaults() {
        assert_eq!(sampling(api::SamplingOptions::default()), Sampling::default());
        assert_eq!(stop(api::StopOptions::default()), Stop::default());
        assert_eq!(shortcuts(api::Shortcuts::default()), Shortcuts::default());
        let on = api::DryOptions { multiplier: Some(0.8), ..Default::default() };
        assert_eq!(dry(on), Dry { multiplier: 0.8, ..Dry::default() });
    }

    #[test]
    fn a_list_that_is_empty_is_not_absent() {
        let none = api::DryOptions {
            sequence_breakers: Some(api::SequenceBreakers::default()),
            ..Default::default()
        };
        assert_eq!(dry(none).breakers, Vec::<String>::new());
        assert!(constraint(api::Constraint { form: None }).is_err());
    }
}
