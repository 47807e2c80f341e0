//! `roster check`: one question to a daemon, with reasons; the exit code is the answer.

use std::process::ExitCode;

use super::asking::{AskError, ask, block_on, code_of, json_of, lines_of, question, unanswered};
use crate::config::Output;
use crate::config::question::QuestionSettings;
use crate::proto::v1;

/// Asks and says what was answered.
pub fn run(settings: &QuestionSettings) -> ExitCode {
    match answer(settings) {
        Ok(answer) => {
            match settings.output {
                Output::Text => println!("{}", lines_of(&answer).join("\n")),
                Output::Json => println!("{}", json_of(&answer)),
            }
            code_of(&answer)
        }
        Err(error) => unanswered(&error, settings.output),
    }
}

fn answer(settings: &QuestionSettings) -> Result<v1::IsAuthorizedResponse, AskError> {
    let question = question(settings)?;
    block_on(async {
        let (_, answer) = ask(settings, question).await?;
        Ok(answer)
    })
}
