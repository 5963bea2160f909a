//! `dsmil agent approve`

use api::wire::agents::Agent;
use api::wire::{Answer, Approval, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, clean, count};
use crate::question;
use crate::session::Context;

/// Approves of agents' files as they are now: from then on they may run.
///
/// Takes root or an owner. What is approved is the file's SHA-256: one that is changed waits again. It shows what the agents ask for and asks first;
/// where there is nobody to ask it needs --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil agent approve token-reader
  dsmil agent approve --all --yes")]
pub struct Approve {
    /// Which.
    #[arg(value_name = "AGENT", required_unless_present = "all")]
    names: Vec<String>,
    /// All that wait.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Approve {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let show = crate::progress::Show::Late;
        let (answer, _) = session.ask("list agents", Command::Agents, show)?;
        let Answer::Agents { agents } = answer else { return Err(Fault::Unexpected) };
        let chosen = self.chosen(&agents)?;
        if chosen.is_empty() {
            return Err(Fault::NotFound("no agent waits to be approved".to_owned()));
        }
        if !self.yes {
            if !question::is_possible() {
                return Err(Fault::Usage("there is nobody to ask here: give --yes".to_owned()));
            }
            let mut table = Table::new(&["AGENT", "ASKS FOR", "FILE", "SHA-256"]);
            for agent in &chosen {
                let asks = agent.capabilities.join(" ");
                table.row([agent.name.clone(), asks, agent.path.clone(), agent.hash.clone()]);
            }
            output::print(&table.to_string())?;
            let number = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
            question::confirm(&format!("Approve {}?", count(number, "agent", "agents")))?;
        }
        let approval = |agent: &&Agent| Approval { name: agent.name.clone(), hash: agent.hash.clone() };
        let agents: Vec<_> = chosen.iter().map(approval).collect();
        let text: String = agents.iter().map(|agent| format!("approved {}\n", clean(&agent.name))).collect();
        let (answer, behind) = session.ask("approve agents", Command::ApproveAgents { agents }, show)?;
        output::answer(context.json, &answer, &behind, &text)
    }

    fn chosen<'a>(&self, agents: &'a [Agent]) -> Result<Vec<&'a Agent>, Fault> {
        if self.all {
            return Ok(agents.iter().filter(|agent| agent.state == "waits").collect());
        }
        let find = |name: &String| {
            let found = agents.iter().find(|agent| agent.name == *name);
            let found = found.ok_or_else(|| {
                Fault::NotFound(format!("there is no agent “{}”: “dsmil agent list” shows them", clean(name)))
            })?;
            match found.mistakes.first() {
                Some(mistake) => Err(Fault::Failed(format!("{}: {}", clean(&found.path), clean(mistake)))),
                None => Ok(found),
            }
        };
        self.names.iter().map(find).collect()
    }
}
