//! What comes in by chance: commands, temperatures, and changes that are none of ours.

use engine::Event;
use engine::command::{Command, NAME_MAX, RequestId, Which};
use engine::retention::Keep;
use types::peer::Peer;
use types::token::{Change, Select, TokenId};
use types::unit::MilliCelsius;

use super::super::random::Random;
use super::{PATHS, Run, SETTINGS};

const NAMES: [&str; 9] = ["one", "two", "three", "four.x", "", "12", "a b", "ü", "../x"];
const USERS: [u32; 4] = [0, 1001, 1000, 1002];

impl Run {
    pub(super) fn temperature(&mut self) -> Result<(), String> {
        let zone = (*self.random.pick(&["acpitz", "x86_pkg_temp"])).to_owned();
        let cool = [Some(40_000), Some(60_000)];
        let any =
            [Some(84_000), Some(90_000), Some(92_999), Some(94_000), Some(97_000), Some(-273_000), None];
        let reading = if self.random.often(850) { *self.random.pick(&cool) } else { *self.random.pick(&any) };
        self.sensors.insert(zone.clone(), reading);
        self.input(Event::Temperature { zone, temperature: reading.map(MilliCelsius) })
    }

    /// Other programs change files and locations too, while nothing of ours does.
    pub(super) fn drift(&mut self) {
        let busy = self.state.exclusive().is_some() || !self.tail.is_empty() || !self.ready.is_empty();
        if busy {
            return;
        }
        let path = *self.random.pick(&PATHS);
        let content = self.random.next() % 4;
        let location = *self.random.pick(&[4, 8, 12, 16]);
        let value = u32::try_from(self.random.below(3)).unwrap();
        let setting = *self.random.pick(&SETTINGS);
        let set = u8::try_from(self.random.below(3)).unwrap();
        self.note(|| {
            format!("drift: {path} holds {content}, location {location} {value}, setting {setting} {set}")
        });
        for snapshot in [&mut self.world.now, &mut self.oracle.expected] {
            if content == 0 {
                snapshot.files.remove(path);
            } else {
                snapshot.files.insert(path, content);
            }
            snapshot.locations.insert(location, value);
            snapshot.settings.insert(setting, set);
        }
    }

    pub(super) fn ask(&mut self) -> Result<(), String> {
        let old =
            (!self.known.is_empty() && self.random.often(250)).then(|| self.random.pick(&self.known).clone());
        let (request, peer, command) = match old {
            // Asked again, mostly for the same.
            Some((request, peer, command)) => {
                (request, peer, if self.random.often(100) { self.command() } else { command })
            }
            None => {
                let uid = if self.random.often(700) { 0 } else { *self.random.pick(&USERS) };
                let id = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
                let waits = self.state.awaiting().is_some() && self.random.often(500);
                let command =
                    if waits { Command::Confirm { undo: self.random.often(300) } } else { self.command() };
                (RequestId(id.to_be_bytes()), Peer { pid: 1, uid, gid: uid }, command)
            }
        };
        self.known.push((request, peer, command.clone()));
        let client = self.clients.entry(request).or_default();
        client.asked += 1;
        client.waits = true;
        self.input(Event::Asked { request, peer, command })
    }

    fn command(&mut self) -> Command {
        match self.random.below(100) {
            0..10 => Command::ReadTokens(self.items()),
            10..45 => Command::WriteTokens(self.changes()),
            45..62 => {
                let name = (*self.random.pick(&NAMES)).to_owned();
                let long = self.random.often(20);
                let fresh = self.random.next();
                let name = if self.random.often(500) { format!("n{fresh}") } else { name };
                let name = if long { "x".repeat(NAME_MAX + 1) } else { name };
                Command::CreateCheckpoint { name, paranoid: self.random.often(500) }
            }
            62..66 => Command::VerifyCheckpoint(self.which()),
            66..70 => Command::PlanRestore {
                which: self.which(),
                paranoid: self.random.often(500),
                scope: None,
                in_place: false,
            },
            70..78 => {
                let length = self.random.below(150);
                let kind = (*self.random.pick(&["build", "a b", "n.1"])).to_owned();
                Command::Note { kind, content: vec![b'x'; length] }
            }
            78..80 => {
                let to = self.random.often(500).then(|| self.which());
                Command::Diff { from: self.which(), to, paths: Vec::new(), paranoid: false }
            }
            80..84 => Command::Prune { keep: self.keep(), dry_run: self.random.often(300) },
            84 => Command::Confirm { undo: self.random.often(300) },
            85..87 => Command::DeleteCheckpoint { which: self.which(), force: self.random.often(200) },
            _ => Command::Restore {
                which: self.which(),
                leave_denied: self.random.often(800),
                paranoid: self.random.often(500),
                scope: None,
                in_place: self.random.often(500),
                confirm_s: self.random.often(500).then(|| 1 + u32::try_from(self.random.below(3)).unwrap()),
            },
        }
    }

    fn keep(&mut self) -> Option<Keep> {
        let count = |random: &mut Random| u32::try_from(random.below(4)).unwrap();
        let keep = Keep {
            last: count(&mut self.random),
            hourly: count(&mut self.random),
            max_bytes: self.random.often(300).then(|| self.random.next() % 8),
            manual: self.random.often(900),
            ..Keep::default()
        };
        self.random.often(900).then_some(keep)
    }

    fn items(&mut self) -> Vec<(TokenId, Select)> {
        let count = self.random.below(5);
        (0..count).map(|_| (self.token(), *self.random.pick(&[Select::Current, Select::Ac]))).collect()
    }

    fn changes(&mut self) -> Vec<Change> {
        let items = self.items();
        let value = |random: &mut Random| u32::try_from(random.below(3)).unwrap();
        let change = |(id, select)| Change {
            id,
            select,
            value: value(&mut self.random),
            expected: if self.random.often(150) { Some(value(&mut self.random)) } else { None },
        };
        items.into_iter().map(change).collect()
    }

    fn token(&mut self) -> TokenId {
        let good = [0x8030, 0x8030, 0x8032, 0x8032, 0x8031];
        let any = [0x8031, 0x8039, 0x8009, 0x800A, 0x1234];
        TokenId(if self.random.often(900) { *self.random.pick(&good) } else { *self.random.pick(&any) })
    }

    fn which(&mut self) -> Which {
        let newest = usize::try_from(self.state.next_checkpoint).unwrap();
        match self.random.below(4) {
            0 => Which::Name((*self.random.pick(&NAMES)).to_owned()),
            _ => Which::Number(u64::try_from(self.random.below(newest + 1)).unwrap()),
        }
    }
}
