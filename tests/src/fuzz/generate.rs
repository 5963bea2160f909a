//! New programs, from a seed alone.
//!
//! What is cheap comes often: a call of the firmware takes a hundred times as long as any other operation, so most reads
//! come from the cache and whole snapshots from the firmware are rare.

mod ioctls;
mod story;

use super::dice::Dice;
use super::known::{Known, Token};
use super::program::{
    ACTORS, Access, Body, Call, FILES, Ioctl, Kind, Length, MAPS, OPS_MAX, Op, Other, Place, Program, Which,
};
use super::uapi::*;

/// Makes operations and programs.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    pub(crate) dice: Dice,
    pub(crate) known: &'a Known,
}

/// What an operation is about.
#[derive(Clone, Copy, Default)]
enum Theme {
    #[default]
    Look,
    Read,
    Transact,
    Allow,
    Raw,
    Files,
    Maps,
    Events,
    Actors,
    Firmware,
    Wait,
}

const THEMES: &[(usize, Theme)] = &[
    (220, Theme::Look),
    (160, Theme::Read),
    (200, Theme::Transact),
    (40, Theme::Allow),
    (25, Theme::Raw),
    (110, Theme::Files),
    (90, Theme::Maps),
    (90, Theme::Events),
    (40, Theme::Actors),
    (6, Theme::Firmware),
    (2, Theme::Wait),
];

impl Generator<'_> {
    /// A new program.
    pub(crate) fn program(&mut self) -> Program {
        let mut ops = Vec::new();
        for file in 0..2 + self.dice.byte(3) {
            let call = self.open(file);
            ops.push(Op::new(0, call));
        }
        let length = 30 + self.dice.below(120);
        while ops.len() < length {
            if self.dice.one_in(14) {
                self.story(&mut ops);
            } else if self.dice.one_in(40) {
                self.short_story(&mut ops);
            } else {
                let op = self.op();
                ops.push(op);
            }
        }
        ops.truncate(OPS_MAX);
        Program(ops)
    }

    /// Any operation.
    pub(crate) fn op(&mut self) -> Op {
        let on = self.actor();
        let call = self.call();
        // What only the fuzzer itself does.
        let on = match call {
            Call::Spawn { .. } | Call::Kill { .. } | Call::Signal { .. } => 0,
            Call::Fault { .. } | Call::ClearFaults | Call::Poke { .. } | Call::Heat { .. } => 0,
            _ => on,
        };
        let fail = if self.dice.one_in(25) { 1 + self.dice.byte(12) } else { 0 };
        Op { on, later: self.dice.one_in(5), fail, call }
    }

    fn actor(&mut self) -> u8 {
        if self.dice.one_in(2) { 0 } else { self.dice.byte(ACTORS) }
    }

    /// Two descriptors are used most, so that operations meet.
    fn file(&mut self) -> u8 {
        if self.dice.one_in(4) { self.dice.byte(FILES) } else { self.dice.byte(2) }
    }

    fn call(&mut self) -> Call {
        let file = self.file();
        match self.dice.weighted(THEMES) {
            Theme::Look => {
                let body = match self.dice.below(4) {
                    0 => Body::Version,
                    1 | 2 => Body::Info,
                    _ => Body::List {
                        cursor: self.odd_number(200),
                        room: u16::from(self.dice.byte(9)) * u16::from(self.dice.byte(9)),
                    },
                };
                self.ioctl(file, body)
            }
            Theme::Read => self.read(file),
            Theme::Transact => {
                let body = self.transact();
                self.ioctl(file, body)
            }
            Theme::Allow => {
                let body = self.allow();
                self.ioctl(file, body)
            }
            Theme::Raw => {
                let body = self.raw();
                self.ioctl(file, body)
            }
            Theme::Files => self.files(file),
            Theme::Maps => self.maps(file),
            Theme::Events => self.events(file),
            Theme::Actors => self.actors(),
            Theme::Firmware => self.firmware(),
            Theme::Wait => Call::Wait { ms: if self.dice.one_in(6) { 1050 } else { 5 } },
        }
    }

    fn ioctl(&mut self, file: u8, body: Body) -> Call {
        let odd = self.dice.one_in(8);
        let flip = |dice: &mut Dice| {
            let at = u16::try_from(dice.below(256)).unwrap_or_default();
            (odd && dice.one_in(3)).then(|| (at, dice.byte(8)))
        };
        let flip_array = flip(&mut self.dice);
        let flip = flip(&mut self.dice);
        let at = if odd && self.dice.one_in(3) { self.place() } else { Place::Room };
        let array = if odd && self.dice.one_in(3) { self.place() } else { Place::Room };
        let count = if self.dice.one_in(24) {
            Some(self.dice.pick(&[0, 257, 1025, 4097, 12289]))
        } else {
            (odd && self.dice.one_in(4)).then(|| self.odd_number(8))
        };
        Call::Ioctl(Ioctl { file, at, array, count, flip, flip_array, compat: self.dice.one_in(6), body })
    }

    fn place(&mut self) -> Place {
        match self.dice.below(6) {
            0 => Place::Null,
            1 => Place::Kernel,
            2 => Place::Nowhere,
            3 => Place::ReadOnly,
            4 => Place::Cut(self.dice.byte(64)),
            _ => Place::Odd,
        }
    }

    /// A number that is mostly small, else near a limit of the interface.
    pub(crate) fn odd_number(&mut self, below: usize) -> u32 {
        let limits = [0, 1, 256, 257, 1024, 1025, 4096, 4097, 12288, 12289, 0x7fff_ffff, u32::MAX];
        if self.dice.one_in(6) {
            self.dice.pick(&limits)
        } else {
            u32::try_from(self.dice.below(below)).unwrap_or_default()
        }
    }

    fn token(&mut self) -> Option<Token> {
        self.known.tokens.get(self.dice.below(self.known.tokens.len())).copied()
    }

    /// A token of a kind; any where there is none of it.
    fn token_that(&mut self, wanted: impl Fn(&Token) -> bool) -> Option<Token> {
        let of: Vec<Token> = self.known.tokens.iter().copied().filter(wanted).collect();
        of.get(self.dice.below(of.len())).copied()
    }

    fn id(&mut self) -> u16 {
        let token = match self.dice.below(12) {
            0 => self.token_that(|token| token.denied),
            1 => self.token_that(|token| !token.denied && !token.allowed),
            2 => self.token_that(|token| token.shared),
            3 => return u16::try_from(self.dice.below(0x1_0000)).unwrap_or_default(),
            4 => self.token(),
            _ => self.token_that(|token| token.allowed),
        };
        token.map_or(0, |token| token.id)
    }

    fn select(&mut self) -> u8 {
        if self.dice.one_in(30) { self.dice.byte(u8::MAX) } else { self.dice.byte(3) }
    }

    fn which(&mut self) -> Which {
        match self.dice.below(12) {
            0 => Which::Number(self.dice.next() >> self.dice.byte(64)),
            1 | 2 => Which::Own,
            _ => Which::Latest,
        }
    }

    pub(crate) fn age(&mut self) -> u32 {
        match self.dice.below(10) {
            0 => 0,
            1 => self.odd_number(50),
            2 => 60_000,
            _ => DSMIL_AGE_ANY,
        }
    }

    fn open(&mut self, file: u8) -> Call {
        let access = self.dice.weighted(&[(8, Access::Both), (2, Access::Read), (1, Access::Write)]);
        let weak = self.dice.one_in(12);
        Call::Open { file, access, nonblock: !self.dice.one_in(3), weak }
    }

    fn files(&mut self, file: u8) -> Call {
        match self.dice.below(10) {
            0..6 => self.open(file),
            6 => Call::Close { file },
            7 => Call::Dup { from: file, to: self.file() },
            _ => Call::Other {
                file,
                which: self.dice.pick(&[
                    Other::Write,
                    Other::Seek,
                    Other::Sync,
                    Other::Truncate,
                    Other::Flags,
                    Other::Fdinfo,
                ]),
            },
        }
    }

    fn maps(&mut self, file: u8) -> Call {
        let map = self.dice.byte(MAPS);
        let protection = if self.dice.one_in(3) { self.dice.byte(8) } else { 1 };
        match self.dice.below(10) {
            0..4 => Call::Map {
                file,
                map,
                length: if self.dice.one_in(5) {
                    Length::Bytes(self.dice.pick(&[0, 1, 4096, 8192, 12288, 16384, 1 << 20, 1 << 28]))
                } else {
                    Length::Exact
                },
                protection,
                private: self.dice.one_in(3),
                offset: if self.dice.one_in(8) { self.odd_number(4) } else { 0 },
            },
            4..8 => Call::Touch { map, offset: self.dice.pick(&[0, 4, 128, 4088, 4092, 4096, 8000, 65536]) },
            8 => Call::Protect { map, protection },
            _ => Call::Unmap { map },
        }
    }

    fn events(&mut self, file: u8) -> Call {
        if self.dice.one_in(2) {
            let ms = if self.dice.one_in(40) { 20 } else { 0 };
            return Call::Poll { file, ms, epoll: self.dice.one_in(3) };
        }
        let to = if self.dice.one_in(10) { self.place() } else { Place::Room };
        Call::Events { file, bytes: self.dice.pick(&[0, 1, 71, 72, 72, 73, 144, 720, 7200, 65536]), to }
    }

    fn actors(&mut self) -> Call {
        let slot = 1 + self.dice.byte(ACTORS - 1);
        match self.dice.below(12) {
            0..4 => Call::Spawn { slot, kind: Kind::Process },
            4..6 => Call::Spawn { slot, kind: Kind::Thread },
            6 => Call::Spawn { slot, kind: Kind::Sharer },
            7..9 => Call::Kill { slot },
            9 => Call::Exit,
            _ => Call::Signal { slot },
        }
    }

    fn firmware(&mut self) -> Call {
        match self.dice.below(8) {
            0..3 => self.fault(),
            3 | 4 => Call::ClearFaults,
            5 | 6 => {
                // Only where the module may write as well: all else must stay as it is to the bit.
                let location = self.token_that(|token| token.allowed).map_or(0, |token| token.location);
                Call::Poke { location, select: self.dice.byte(3), value: self.odd_number(1000) }
            }
            _ => Call::Heat { decikelvin: self.dice.pick(&[0, 3182, 3582, 3592, 3682, 3692, 3732, 1]) },
        }
    }

    fn fault(&mut self) -> Call {
        let (kind, on) = self.dice.weighted(&[
            (3, ("error", "any")),
            (3, ("error", "write")),
            (1, ("unsupported", "any")),
            (2, ("garbage", "any")),
            (2, ("short", "any")),
            (3, ("write-ignored", "write")),
            (1, ("slow", "any")),
            (3, ("late-error", "write")),
        ]);
        let value = match kind {
            // From no outputs to all but the last bytes of the reply.
            "short" => format!(",value={}", self.dice.pick(&[0, 4, 8, 20, 24, 28, 30, 32, 36, 100, 4095])),
            "slow" => format!(",value={}", 1 + self.dice.below(30)),
            "garbage" => format!(",value={}", 1 + self.dice.word() / 2),
            _ => String::new(),
        };
        let skip = self.dice.below(5);
        // One that hits more often fails the undo too, which is then tried again after a second.
        let count = if self.dice.one_in(8) { 2 + self.dice.below(5) } else { 1 };
        Call::Fault { spec: format!("{kind},on={on},skip={skip},count={count}{value}") }
    }
}
