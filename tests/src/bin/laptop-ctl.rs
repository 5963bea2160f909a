//! Works the virtual laptop's firmware from inside the laptop, as root: temperature, faults, counters, storage.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use ::tests::machine::fault::Fault;
use ::tests::machine::guest::{self, Firmware};
use ::tests::machine::password;
use ::tests::machine::vendor::{Call, MAGIC, VERSION};
use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};

/// Works the virtual laptop's firmware from inside the laptop, as root.
#[derive(Parser)]
#[command(name = "laptop-ctl")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says which firmware is there.
    Identify,
    /// Sets the thermal zone's temperature and notifies the kernel.
    Heat {
        /// Degrees Celsius with one digit after the point at most, or `default`.
        #[arg(value_parser = decikelvin, allow_negative_numbers = true)]
        celsius: u32,
        /// By the I/O port: works without the Dell driver, seen at the kernel's next poll. Else by a firmware call.
        #[arg(long)]
        port: bool,
    },
    /// Prints what the firmware says of the temperature, in degrees Celsius.
    Temperature,
    /// Sets a fault, `clear`s all, or `list`s those that stand.
    Fault {
        /// KIND[,on=…][,skip=…][,count=…][,value=…][,location=…] with the kinds error, unsupported, garbage, short,
        /// write-ignored, slow, late-error; or `clear`; or `list`.
        what: String,
        /// Hits reads, writes or any.
        #[arg(long)]
        on: Option<String>,
        /// Matching calls that pass first.
        #[arg(long)]
        skip: Option<String>,
        /// Matching calls that are hit then; 0 is for ever.
        #[arg(long)]
        count: Option<String>,
        /// Status (garbage), bytes (short), milliseconds (slow).
        #[arg(long)]
        value: Option<String>,
        /// Hits calls for this location only.
        #[arg(long)]
        location: Option<String>,
    },
    /// Sets the BIOS administrator password or takes it away; else says whether one is set, as anybody may ask.
    ///
    /// While it is set the firmware refuses token writes with status -1. It does not outlive the boot.
    Password {
        /// On or off.
        #[arg(value_enum)]
        state: Option<Switch>,
    },
    /// Prints how many token reads and writes reached the firmware since the boot, and how many faults it applied.
    Calls,
    /// Reads a location as any caller does: counted, filtered by the driver, hit by faults.
    Read {
        /// The location.
        #[arg(value_parser = number)]
        location: u32,
        /// Which value.
        #[arg(long, value_enum, default_value = "current")]
        select: Select,
    },
    /// Writes a location as any caller does: counted, filtered by the driver, hit by faults.
    Write {
        /// The location.
        #[arg(value_parser = number)]
        location: u32,
        /// The value.
        #[arg(value_parser = number)]
        value: u32,
        /// Which value.
        #[arg(long, value_enum, default_value = "current")]
        select: Select,
    },
    /// Prints what the storage holds, past driver, counters and faults.
    Peek {
        /// The location.
        #[arg(value_parser = number)]
        location: u32,
        /// Which value.
        #[arg(long, value_enum, default_value = "current")]
        select: Select,
    },
    /// Puts a value into the storage, past driver, counters and faults.
    Poke {
        /// The location.
        #[arg(value_parser = number)]
        location: u32,
        /// The value.
        #[arg(value_parser = number)]
        value: u32,
        /// Which value.
        #[arg(long, value_enum, default_value = "current")]
        select: Select,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum Select {
    Current,
    Battery,
    Ac,
}

impl Select {
    /// The code, as `include/uapi/linux/wmi.h` has it.
    const fn code(self) -> u16 {
        match self {
            Self::Current => 0,
            Self::Battery => 1,
            Self::Ac => 2,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("laptop-ctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Identify => {
            let [magic, version, _] = Firmware::open()?.vendor(Call::Identify, [0; 4])?;
            ensure!(magic == MAGIC && version == VERSION, "another firmware: {magic:#x}, version {version}");
            println!("virtual laptop, firmware calls version {version}");
        }
        Command::Heat { celsius, port: true } => guest::heat_by_port(celsius)?,
        Command::Heat { celsius, port: false } => {
            Firmware::open().context("`--port` works without it")?.vendor(Call::Heat, [celsius, 0, 0, 0])?;
        }
        Command::Temperature => {
            let [decikelvin, ..] = Firmware::open()?.vendor(Call::Temperature, [0; 4])?;
            let tenths = i64::from(decikelvin) - 2732;
            let sign = if tenths < 0 { "-" } else { "" };
            println!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10);
        }
        Command::Fault { what, on, skip, count, value, location } => {
            fault(
                &what,
                [("on", on), ("skip", skip), ("count", count), ("value", value), ("location", location)],
            )?;
        }
        Command::Password { state: Some(state) } => {
            let set = u32::from(matches!(state, Switch::On));
            Firmware::open()?.vendor(Call::Password, [set, 0, 0, 0])?;
        }
        Command::Password { state: None } => {
            let outputs = Firmware::open()?.call(password::CLASS, password::PROPERTIES, [0; 4])?;
            let set = password::is_set(outputs).context("the firmware does not tell")?;
            println!("{}", if set { "set" } else { "not set" });
        }
        Command::Calls => {
            let [reads, writes, faults] = Firmware::open()?.vendor(Call::Calls, [0; 4])?;
            println!("reads={reads} writes={writes} faults={faults}");
        }
        Command::Read { location, select } => println!("{}", token(0, location, 0, select)?),
        Command::Write { location, value, select } => {
            token(1, location, value, select)?;
        }
        Command::Peek { location, select } => {
            let [value, ..] =
                Firmware::open()?.vendor(Call::Peek, [location, u32::from(select.code()), 0, 0])?;
            println!("{value}");
        }
        Command::Poke { location, value, select } => {
            Firmware::open()?.vendor(Call::Poke, [location, u32::from(select.code()), value, 0])?;
        }
    }
    Ok(())
}

/// An ordinary token call; a status other than 0 is an error.
fn token(class: u16, location: u32, value: u32, select: Select) -> anyhow::Result<u32> {
    let [status, value, ..] = Firmware::open()?.call(class, select.code(), [location, value, 0, 0])?;
    ensure!(status == 0, "the firmware answered with status {}", status.cast_signed());
    Ok(value)
}

fn fault(what: &str, options: [(&str, Option<String>); 5]) -> anyhow::Result<()> {
    let options: String =
        options.into_iter().filter_map(|(key, text)| Some(format!(",{key}={}", text?))).collect();
    match what {
        "clear" | "list" if !options.is_empty() => bail!("`fault {what}` takes no options"),
        "clear" => {
            Firmware::open()?.vendor(Call::FaultClear, [0; 4])?;
        }
        "list" => Firmware::open()?.faults()?.iter().for_each(|fault| println!("{fault}")),
        kind => {
            let fault: Fault = format!("{kind}{options}").parse()?;
            Firmware::open()?
                .vendor(Call::FaultAdd, fault.words())
                .context("are all fault slots taken? `laptop-ctl fault list`")?;
        }
    }
    Ok(())
}

/// A number, `0x` for hexadecimal.
fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
}

/// Degrees Celsius, in the firmware's tenths of a kelvin; 0 stands for the default.
fn decikelvin(text: &str) -> Result<u32, String> {
    if text == "default" {
        return Ok(0);
    }
    let wrong = || format!("`{text}` is not a temperature above -273.2 and up to 1000 degrees Celsius");
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let tenth: i32 = if tenth.len() == 1 { tenth.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let degrees: i32 = whole.parse().map_err(|_| wrong())?;
    if degrees.abs() > 1000 {
        return Err(wrong());
    }
    let tenths = degrees * 10 + if whole.starts_with('-') { -tenth } else { tenth };
    u32::try_from(tenths + 2732).ok().filter(|decikelvin| *decikelvin > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::decikelvin;

    #[test]
    fn degrees_become_tenths_of_a_kelvin() {
        for (text, expected) in
            [("90", 3632), ("45.5", 3187), ("0", 2732), ("-0.5", 2727), ("-10.5", 2627), ("default", 0)]
        {
            assert_eq!(decikelvin(text), Ok(expected), "{text}");
        }
        for text in ["", "warm", "-273.2", "-300", "1e3", "45.55", "45.", "2000", "--1"] {
            assert!(decikelvin(text).is_err(), "{text}");
        }
    }
}
