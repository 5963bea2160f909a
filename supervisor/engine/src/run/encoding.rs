//! A workflow as bytes, as facts and snapshots hold it.
//!
//! CBOR in the manner of the facts: a map with integer keys for what has several parts, an array of a number and such a map for what is
//! one of several things. Keys and numbers are only ever added; `docs/facts.md` lists them. It is what was understood of the file,
//! not the file: what a later version understands otherwise does not change what a run was.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use types::agent::{Capability, Milliseconds, Name, Retry};
use types::hash::Hash;
use types::workflow::{
    Compare, Comparison, Expression, Key, Kind, Mode, OnFailure, Param, Piece, Priority, Step, Take,
    Template, Who, Workflow,
};

use crate::fact::Error;

/// Deepest nesting: more than any reader of files lets through.
const DEPTH_MAX: u32 = 128;

/// Encodes a workflow.
///
/// # Errors
///
/// [`Error::Encode`].
pub fn encode(workflow: &Workflow) -> Result<Vec<u8>, Error> {
    let mut encoder = Encoder::new(Vec::with_capacity(1024));
    workflow.put(&mut encoder).map_err(|error| Error::Encode(error.to_string()))?;
    Ok(encoder.into_writer())
}

/// Decodes one.
///
/// # Errors
///
/// [`Error::Decode`] for anything that is not one workflow.
pub fn decode(bytes: &[u8]) -> Result<Workflow, Error> {
    let mut reader = Reader { from: Decoder::new(bytes), depth: 0 };
    let workflow = Workflow::take(&mut reader).map_err(|error| Error::Decode(error.to_string()))?;
    match bytes.len() - reader.from.position() {
        0 => Ok(workflow),
        more => Err(Error::Decode(format!("{more} bytes follow the workflow"))),
    }
}

type To = Encoder<Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type Taken<T> = Result<T, minicbor::decode::Error>;

struct Reader<'a> {
    from: Decoder<'a>,
    depth: u32,
}

impl Reader<'_> {
    fn bad(what: &str) -> minicbor::decode::Error {
        minicbor::decode::Error::message(what)
    }

    /// How many items a list has.
    fn list(&mut self) -> Taken<u64> {
        self.from.array()?.ok_or_else(|| Self::bad("an open end"))
    }

    /// Each pair of a map, or, for a key that is not known, what stands there passed over.
    fn map(&mut self, mut each: impl FnMut(&mut Self, u32) -> Taken<bool>) -> Taken<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Self::bad("nested too deep"));
        }
        let pairs = self.from.map()?.ok_or_else(|| Self::bad("an open end"))?;
        for _ in 0..pairs {
            let key = self.from.u32()?;
            if !each(self, key)? {
                self.from.skip()?;
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// What can be written and read back.
trait Code: Sized {
    fn put(&self, to: &mut To) -> Written;
    fn take(from: &mut Reader<'_>) -> Taken<Self>;
}

/// What has several parts: their keys, in order, from 0.
macro_rules! parts {
    ($type:ty { $($key:literal $field:ident),+ $(,)? }) => {
        impl Code for $type {
            fn put(&self, to: &mut To) -> Written {
                let keys: &[u32] = &[$($key),+];
                to.map(keys.len() as u64)?;
                $( to.u32($key)?; self.$field.put(to)?; )+
                Ok(())
            }

            fn take(from: &mut Reader<'_>) -> Taken<Self> {
                $( let mut $field = None; )+
                from.map(|from, key| {
                    match key {
                        $( $key => $field = Some(Code::take(from)?), )+
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(Self { $( $field: $field.ok_or_else(|| Reader::bad(concat!("no ", stringify!($field))))? ),+ })
            }
        }
    };
}

/// What is one of several things: each with its number and its parts' keys, fields and names.
macro_rules! variants {
    ($type:ident { $($number:literal $variant:ident { $($key:literal $field:tt $name:ident),* }),+ $(,)? }) => {
        impl Code for $type {
            fn put(&self, to: &mut To) -> Written {
                to.array(2)?;
                match self {
                    $( Self::$variant { $($field: $name),* } => {
                        let keys: &[u32] = &[$($key),*];
                        to.u32($number)?.map(keys.len() as u64)?;
                        $( to.u32($key)?; $name.put(to)?; )*
                    } )+
                }
                Ok(())
            }

            fn take(from: &mut Reader<'_>) -> Taken<Self> {
                if from.list()? != 2 {
                    return Err(Reader::bad(concat!("not a ", stringify!($type))));
                }
                match from.from.u32()? {
                    $( $number => {
                        $( let mut $name = None; )*
                        from.map(|_from, key| {
                            $( if key == $key {
                                $name = Some(Code::take(_from)?);
                                return Ok(true);
                            } )*
                            _ = key;
                            Ok(false)
                        })?;
                        Ok(Self::$variant {
                            $( $field: $name.ok_or_else(|| Reader::bad(concat!("no ", stringify!($name))))? ),*
                        })
                    } )+
                    _ => Err(Reader::bad(concat!("an unknown ", stringify!($type)))),
                }
            }
        }
    };
}

parts!(Workflow {
    0 name, 1 description, 2 params, 3 steps, 4 timeout, 5 priority, 6 on_failure, 7 hash
});
parts!(Param { 0 name, 1 kind, 2 default, 3 description });
parts!(Step {
    0 id, 1 needs, 2 who, 3 mode, 4 input, 5 when, 6 retry, 7 timeout, 8 checkpoint_before, 9 on_failure
});
parts!(Retry { 0 limit, 1 delay, 2 delay_max });
variants!(Kind { 0 Text {}, 1 Number {}, 2 Bool {}, 3 List {}, 4 Map {} });
variants!(Priority { 0 Low {}, 1 Normal {}, 2 High {} });
variants!(OnFailure { 0 Continue {}, 1 Stop {}, 2 RollBack {} });
variants!(Who { 0 Agents { 0 0 names }, 1 Capability { 0 0 capability } });
variants!(Mode {
    0 Sequential {},
    1 Parallel { 0 each each, 1 at_once at_once },
    2 Pipeline { 0 each each, 1 buffer buffer, 2 at_once at_once },
    3 Consensus { 0 copies copies, 1 quorum quorum, 2 compare compare },
    4 Competitive { 0 copies copies },
    5 Redundant { 0 copies copies, 1 take take },
});
variants!(Compare { 0 Equal {}, 1 Tolerance { 0 millionths millionths }, 2 Judge { 0 agent agent } });
variants!(Take { 0 Majority {}, 1 First {} });
variants!(Template {
    0 Null {},
    1 Bool { 0 0 value },
    2 Number { 0 0 text },
    3 Text { 0 0 pieces },
    4 Value { 0 0 expression },
    5 List { 0 0 items },
    6 Map { 0 0 entries },
});
variants!(Piece { 0 Plain { 0 0 text }, 1 Value { 0 0 expression } });
variants!(Expression {
    0 Null {},
    1 Bool { 0 0 value },
    2 Number { 0 0 text },
    3 Text { 0 0 text },
    4 Param { 0 param param, 1 path path },
    5 Output { 0 step step, 1 path path },
    6 Status { 0 step step },
    7 Item { 0 path path },
    8 Not { 0 0 of },
    9 And { 0 0 left, 1 1 right },
    10 Or { 0 0 left, 1 1 right },
    11 Compare { 0 0 how, 1 1 left, 2 2 right },
});
variants!(Key { 0 Field { 0 0 name }, 1 Index { 0 0 place } });
variants!(Comparison {
    0 Equal {}, 1 NotEqual {}, 2 Less {}, 3 LessOrEqual {}, 4 Greater {}, 5 GreaterOrEqual {}
});

impl Code for bool {
    fn put(&self, to: &mut To) -> Written {
        to.bool(*self)?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        from.from.bool()
    }
}

impl Code for u32 {
    fn put(&self, to: &mut To) -> Written {
        to.u32(*self)?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        from.from.u32()
    }
}

impl Code for usize {
    fn put(&self, to: &mut To) -> Written {
        to.u64(u64::try_from(*self).unwrap_or(u64::MAX))?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        Self::try_from(from.from.u64()?).map_err(|_| Reader::bad("a place beyond what this machine counts"))
    }
}

impl Code for String {
    fn put(&self, to: &mut To) -> Written {
        to.str(self)?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        from.from.str().map(str::to_owned)
    }
}

/// What is written as a text that reads back.
macro_rules! texts {
    ($($type:ty),+) => { $(
        impl Code for $type {
            fn put(&self, to: &mut To) -> Written {
                to.str(&self.to_string())?;
                Ok(())
            }

            fn take(from: &mut Reader<'_>) -> Taken<Self> {
                from.from.str()?.parse().map_err(|_| Reader::bad(concat!("not a ", stringify!($type))))
            }
        }
    )+ };
}
texts!(Name, Capability);

impl Code for Milliseconds {
    fn put(&self, to: &mut To) -> Written {
        to.u64(self.0)?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        from.from.u64().map(Self)
    }
}

impl Code for Hash {
    fn put(&self, to: &mut To) -> Written {
        to.bytes(&self.0)?;
        Ok(())
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        from.from.bytes()?.try_into().map(Self).map_err(|_| Reader::bad("not a hash"))
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, to: &mut To) -> Written {
        match self {
            Some(value) => value.put(to),
            None => to.null().map(drop),
        }
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        if from.from.datatype()? == Type::Null {
            return from.from.null().map(|()| None);
        }
        T::take(from).map(Some)
    }
}

impl<T: Code> Code for Box<T> {
    fn put(&self, to: &mut To) -> Written {
        T::put(self, to)
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        T::take(from).map(Self::new)
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, to: &mut To) -> Written {
        to.array(u64::try_from(self.len()).unwrap_or(u64::MAX))?;
        self.iter().try_for_each(|item| item.put(to))
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        (0..from.list()?).map(|_| T::take(from)).collect()
    }
}

/// A key of a map and what stands there.
impl<T: Code> Code for (String, T) {
    fn put(&self, to: &mut To) -> Written {
        to.array(2)?;
        self.0.put(to)?;
        self.1.put(to)
    }

    fn take(from: &mut Reader<'_>) -> Taken<Self> {
        match from.list()? {
            2 => Ok((String::take(from)?, T::take(from)?)),
            _ => Err(Reader::bad("not a key and a value")),
        }
    }
}

#[cfg(test)]
#[path = "encoding/tests.rs"]
mod tests;
