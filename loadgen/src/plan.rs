//! `ntpload plan`: how many cores and links a demand takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, value_parser};
use serde_json::Value;

use crate::capacity::{Demand, Link, Supply};
use crate::failure::Failure;
use crate::json::{Reader, VERSION};
use crate::output::{Form, Sinks};
use crate::{plan_forms, units};

/// Options of `ntpload plan`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("source").required(true).args(["sweep", "per_core_rate"]))]
pub(crate) struct PlanArgs {
    /// How many clients ask; 50M is understood
    #[arg(long, value_name = "N", value_parser = units::number)]
    clients: f64,
    /// Time between two requests of one client: 64, 1024, 17m
    #[arg(long, default_value = "1024", value_name = "TIME", value_parser = units::duration)]
    poll: Duration,
    /// The highest rate over the mean: clients ask in step, on the hour, and after an outage
    #[arg(long, default_value_t = 3.0, value_name = "FACTOR", value_parser = parse_peak)]
    peak: f64,
    /// The result of `ntpload sweep --json`: what --server-cores answered with the least loss it was searched
    /// for
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,
    /// Cores that the server had in that sweep
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..=4096))]
    server_cores: u32,
    /// Requests per second that one core answers, where there is no sweep
    #[arg(long, value_name = "RATE", value_parser = units::number, conflicts_with = "server_cores")]
    per_core_rate: Option<f64>,
    /// Part of every core and link that stays free at the peak
    #[arg(long, default_value = "30%", value_name = "PART", value_parser = units::part)]
    headroom: f64,
    /// Octets of UDP payload: 48 for plain NTP, 68 with a MAC, 228 with NTS
    #[arg(long, default_value_t = 48, value_name = "OCTETS")]
    #[arg(value_parser = value_parser!(u64).range(48..=1452))]
    payload: u64,
    /// Links to consider, in bits per second
    #[arg(long, value_delimiter = ',', default_values = ["1G", "10G", "25G", "40G", "100G"])]
    #[arg(value_name = "SPEEDS", value_parser = parse_link)]
    link: Vec<Link>,
    /// Write it for machines; - is the standard output, then without the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What a plan rests on.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) demand: Demand,
    pub(crate) supply: Supply,
    pub(crate) links: Vec<Link>,
    /// Where the rate of a core comes from, in words.
    pub(crate) source: String,
}

/// Makes the plan that the command line asks for.
pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let (per_core, source) = match (&args.sweep, args.per_core_rate) {
        (Some(path), _) => measured(path, args.server_cores)?,
        (None, rate) => (rate.unwrap_or_default(), "as given".to_owned()),
    };
    if per_core < 1.0 || args.clients < 1.0 || args.headroom >= 1.0 {
        let text =
            "a plan needs at least one client, a core that answers once a second, and a headroom below 100%";
        return Err(Failure::Usage(text.to_owned()));
    }
    let basis = Basis {
        demand: Demand { clients: args.clients as u64, poll: args.poll, peak: args.peak },
        supply: Supply { per_core, headroom: args.headroom, payload: args.payload },
        links: args.link.clone(),
        source,
    };
    let sinks = Sinks::open(&[(Form::Json, args.json.as_deref()), (Form::Html, args.html.as_deref())])?;
    sinks.print(&plan_forms::text(&basis))?;
    sinks.write(|form| match form {
        Form::Html => plan_forms::page(&basis),
        _ => format!("{:#}\n", plan_forms::json(&basis)),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The rate of one core by a sweep: of the strictest limit that found one.
fn measured(path: &Path, cores: u32) -> Result<(f64, String), Failure> {
    let wrong = |error: String| Failure::Usage(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::RunTime(format!("cannot read {}: {error}", path.display())))?;
    let sweep: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if sweep["version"] != VERSION || sweep["kind"] != "sweep" {
        return Err(wrong(format!("it is no result of a sweep, version {VERSION}")));
    }
    let results = Reader { root: &sweep, place: "/results" }.list().map_err(wrong)?;
    let result = results
        .iter()
        .find(|result| result["rate"].is_u64())
        .ok_or_else(|| wrong("the sweep found no rate that the server kept up with".to_owned()))?;
    let number = |place| Reader { root: result, place }.number().map_err(wrong);
    let (rate, max_loss) = (number("/rate")?, number("/max_loss")?);
    let limit = match result["limited_by"].as_str() {
        Some("server") => "",
        _ => "; the server may do more, the sweep ended before it",
    };
    let source = format!(
        "{rate} requests/s with a loss of at most {} % by {cores} cores in {}{limit}",
        100.0 * max_loss,
        path.display()
    );
    Ok((rate / f64::from(cores), source))
}

fn parse_peak(text: &str) -> Result<f64, String> {
    match units::number(text) {
        Ok(peak) if peak >= 1.0 => Ok(peak),
        _ => Err("the peak is at least the mean: expected a factor of 1 or more".to_owned()),
    }
}

fn parse_link(text: &str) -> Result<Link, String> {
    match units::number(text) {
        Ok(bits) if (1e6..=1e15).contains(&bits) => Ok(Link(bits as u64)),
        _ => Err("expected bits per second, such as 100M, 1G or 25G".to_owned()),
    }
}
