//! What only the registry of agents can tell of a workflow: whether those it names are there, and whether copies of the
//! same task can run without each changing the machine.

use types::agent::{Capability, Definition, Name, Network};
use types::workflow::{Compare, Mode, Step, Who, Workflow};

use crate::document::fields::nearest;
use crate::document::mistake::{Mistake, Mistakes, Place};

use super::Places;

/// What the registry knows of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known<'a> {
    /// What it is called.
    pub name: &'a Name,
    /// What it asks to be allowed.
    pub capabilities: &'a [Capability],
    /// What it asks to reach.
    pub network: Network,
}

impl<'a> From<&'a Definition> for Known<'a> {
    fn from(agent: &'a Definition) -> Self {
        Self { name: &agent.name, capabilities: &agent.capabilities, network: agent.network }
    }
}

/// Checks a workflow against the agents that are known.
///
/// `can_wait` tells whether what a kind of capability such as `file.write` does, if anything, can be held back until it is
/// known which of several copies of a task has won.
///
/// `places` are those that [`read`](super::read) gave with the workflow. All mistakes are found, at most
/// [`MISTAKES_MAX`](crate::document::mistake::MISTAKES_MAX).
#[must_use]
pub fn check_agents(
    workflow: &Workflow,
    places: &[Places],
    known: &[Known<'_>],
    can_wait: fn(&str) -> bool,
) -> Vec<Mistake> {
    let mut mistakes = Mistakes::default();
    for (index, (step, places)) in workflow.steps.iter().zip(places).enumerate() {
        let path = format!("steps[{index}]");
        let candidates = match &step.who {
            Who::Agents(names) => named(names, places, &path, known, &mut mistakes),
            Who::Capability(capability) => able(capability, places, &path, known, &mut mistakes),
        };
        if let (Mode::Consensus { compare: Compare::Judge { agent }, .. }, Some(place)) =
            (&step.mode, places.judge)
        {
            find(agent, place, &format!("{path}.mode.consensus.compare.judge"), known, &mut mistakes);
        }
        if step.mode.copies() > 1 {
            for agent in candidates {
                if let Some((what, advice)) = refusal(step, agent, can_wait) {
                    mistakes.add(Mistake::new(places.mode, what, advice).of(format!("{path}.mode")));
                }
            }
        }
    }
    mistakes.into_vec()
}

/// The agents that are named, as far as they are known.
fn named<'k>(
    names: &[Name],
    places: &Places,
    path: &str,
    known: &'k [Known<'k>],
    mistakes: &mut Mistakes,
) -> Vec<&'k Known<'k>> {
    let is_list = names.len() > 1;
    let found = names.iter().zip(&places.who).enumerate().filter_map(|(index, (name, place))| {
        let path = if is_list { format!("{path}.agent[{index}]") } else { format!("{path}.agent") };
        find(name, *place, &path, known, mistakes)
    });
    found.collect()
}

fn find<'k>(
    name: &Name,
    place: Place,
    path: &str,
    known: &'k [Known<'k>],
    mistakes: &mut Mistakes,
) -> Option<&'k Known<'k>> {
    let found = known.iter().find(|agent| agent.name == name);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|agent| agent.name.as_str()).collect();
        let advice = match nearest(name.as_str(), &names) {
            Some(near) => format!("write “{near}”, if that is meant"),
            None => "“dsmil agent list” shows all".to_owned(),
        };
        mistakes.add(Mistake::new(place, format!("there is no agent “{name}”"), advice).of(path));
    }
    found
}

/// The agents that may do this.
fn able<'k>(
    wanted: &Capability,
    places: &Places,
    path: &str,
    known: &'k [Known<'k>],
    mistakes: &mut Mistakes,
) -> Vec<&'k Known<'k>> {
    let can = |agent: &&Known<'_>| agent.capabilities.iter().any(|capability| capability.meets(wanted));
    let found: Vec<_> = known.iter().filter(can).collect();
    if let (true, Some(place)) = (found.is_empty(), places.who.first()) {
        let what = format!("no agent asks for “{wanted}”");
        let advice = "name an agent, or add the capability to the file of one";
        mistakes.add(Mistake::new(*place, what, advice).of(format!("{path}.agent.capability")));
    }
    found
}

/// Only the winner's effects may happen: why this agent may do no copy of a task.
fn refusal(step: &Step, agent: &Known<'_>, can_wait: fn(&str) -> bool) -> Option<(String, String)> {
    let at_once = agent.capabilities.iter().find(|capability| !can_wait(capability.kind()));
    let asked = match (at_once, agent.network) {
        (Some(capability), _) => format!("“{capability}”"),
        (None, Network::Full) => "the whole network".to_owned(),
        (None, Network::None | Network::Loopback) => return None,
    };
    let (word, name) = (step.mode.word(), agent.name);
    Some((
        format!("the agent “{name}” asks for {asked}, which cannot be held back from those that lose"),
        format!("take an agent that only reads or writes files, or another mode than {word}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &str, agents: &[(&str, &str, Network)]) -> Vec<String> {
        let file = format!("name: w\nsteps:\n{steps}");
        let checked = super::super::read(file.as_bytes()).unwrap();
        let owned: Vec<(Name, Vec<Capability>, Network)> = agents
            .iter()
            .map(|(name, asks, network)| {
                let asks = asks.split_whitespace().map(|text| text.parse().unwrap()).collect();
                (name.parse().unwrap(), asks, *network)
            })
            .collect();
        let known: Vec<Known<'_>> = owned
            .iter()
            .map(|(name, capabilities, network)| Known { name, capabilities, network: *network })
            .collect();
        let mistakes = check_agents(&checked.workflow, &checked.places, &known, |kind| {
            kind.ends_with(".read") || kind == "file.write"
        });
        mistakes.iter().map(ToString::to_string).collect()
    }

    const AGENTS: &[(&str, &str, Network)] = &[
        ("reader", "file.read:/srv token.read", Network::None),
        ("writer", "file.write:/srv", Network::Loopback),
        ("setter", "token.read token.write", Network::None),
        ("fetcher", "", Network::Full),
    ];

    #[test]
    fn those_who_are_not_there_are_found() {
        let steps = "
- {id: a, agent: reader}
- {id: b, agent: [reader, raeder, nobody]}
- {id: c, agent: {capability: \"file.read:/srv/x\"}}
- {id: d, agent: {capability: \"file.read:/etc\"}}
- id: e
  agent: reader
  mode: {consensus: {compare: {judge: judge}}}
";
        assert_eq!(
            check(steps, AGENTS),
            [
                "5:27: steps[1].agent[1]: there is no agent “raeder”; write “reader”, if that is meant",
                "5:35: steps[1].agent[2]: there is no agent “nobody”; “dsmil agent list” shows all",
                "7:31: steps[3].agent.capability: no agent asks for “file.read:/etc”; name an agent, or add the capability to the file of one",
                "10:39: steps[4].mode.consensus.compare.judge: there is no agent “judge”; “dsmil agent list” shows all",
            ]
        );
    }

    #[test]
    fn copies_change_nothing_before_they_win() {
        for (agent, mode, expected) in [
            ("[reader, writer]", "consensus", None),
            ("setter", "sequential", None),
            ("setter", "{parallel: {each: params.l}}", None),
            (
                "setter",
                "consensus",
                Some("the agent “setter” asks for “token.write”, which cannot be held back"),
            ),
            ("[reader, setter]", "competitive", Some("the agent “setter” asks for “token.write”")),
            ("fetcher", "redundant", Some("the agent “fetcher” asks for the whole network")),
            ("{capability: token.read}", "redundant", Some("the agent “setter” asks for “token.write”")),
        ] {
            let steps = format!("- id: a\n  agent: {agent}\n  mode: {mode}\nparams: {{l: []}}\n");
            let found = check(&steps, AGENTS);
            match expected {
                None => assert_eq!(found, [""; 0], "{agent} {mode}"),
                Some(expected) => {
                    assert_eq!(found.len(), 1, "{found:?}");
                    assert!(found[0].starts_with(&format!("5:9: steps[0].mode: {expected}")), "{found:?}");
                }
            }
        }
    }
}
