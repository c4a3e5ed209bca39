//! ntp.conf and command line → the client's settings.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::warn;

use crate::client::{
    ClockControl, DisciplineSettings, Family, Host, LeapSecond, SelectionSettings, Settings, Source,
    SourceOptions,
};
use crate::config::{self, Association, AssociationKind, Config};
use crate::daemon::{CoreChoice, Options, configuration};
use crate::snapshot::LocalClock;
use crate::sys::{clock, interfaces, resolve};
use crate::wire::{Precision, ReferenceId};

/// ntpd's `-x`: what is off by less is slewed, in seconds.
const SLEW_STEP: f64 = 600.0;

/// Whether the clock is, for all that may be expected, never stepped.
pub(in crate::daemon) fn is_slew_only(discipline: &DisciplineSettings) -> bool {
    discipline.step == 0.0 || discipline.step >= SLEW_STEP
}

/// All that the configuration says to the client; `drift_ppm` is what its drift file says.
pub(super) fn settings(
    options: &Options,
    config: &Config,
    precision: Precision,
    drift_ppm: Option<f64>,
) -> Settings {
    Settings {
        sources: config.associations.iter().filter_map(|line| source(line, options)).collect(),
        local_clock: config.local_clock().map(local_clock),
        selection: selection(&config.tos),
        discipline: discipline(options, config),
        precision,
        own_addresses: own_addresses(options),
        drift_ppm,
        leap: leap_second(config),
    }
}

/// Seconds before a leap second table expires from when on the operator is told.
const EXPIRES_SOON: i64 = 30 * 86_400;

/// The next leap second of the leap file, or its last one, which says that there is none now. `None`, with a
/// warning, for a table that cannot be used or says nothing any more.
fn leap_second(config: &Config) -> Option<LeapSecond> {
    let file = config.leap_file.as_ref()?;
    let path = file.path.value.display();
    let table = configuration::leap_table(file)
        .inspect_err(|error| warn!("leapfile {path}: {error}; the sources say when a leap second is due"))
        .ok()?;
    let now = clock::realtime().seconds;
    match table.expires() - now {
        ..=0 => {
            warn!(
                "leapfile {path} has expired: fetch leap-seconds.list anew; the sources say when a leap second is due"
            );
            return None;
        }
        1..EXPIRES_SOON => warn!("leapfile {path} expires within a month: fetch leap-seconds.list anew"),
        _ => {}
    }
    let change = table.next(now)?;
    Some(LeapSecond { at: change.at, insert: change.insert, expires: table.expires() })
}

/// `None`, with a warning, for a line that cannot be followed.
fn source(association: &Association, options: &Options) -> Option<Source> {
    if association.nts {
        // Asked without it, the time would not be what the line says it is.
        warn!("{}: network time security is not supported yet: not asked", association.position);
        return None;
    }
    Some(Source {
        host: match &association.host {
            config::Host::Address(address) => Host::Address(*address, 0),
            config::Host::Name(name) => match resolve::scoped_address(name) {
                Some((address, scope)) => Host::Address(IpAddr::V6(address), scope),
                None => Host::Name(Arc::from(name.as_str()), family(association.family, options.family)),
            },
        },
        is_pool: association.kind == AssociationKind::Pool,
        options: SourceOptions {
            port: SourceOptions::default().port,
            iburst: association.iburst,
            prefer: association.prefer,
            noselect: association.noselect,
            truechimer: association.truechimer,
            minpoll: association.minpoll,
            maxpoll: association.maxpoll,
            key: association.key.map(u32::from),
            version: association.version,
        },
    })
}

/// What the line says, else what the command line says. The two floors name the same families, each for
/// itself.
fn family(of_line: config::Family, of_all: config::Family) -> Family {
    match if of_line == config::Family::Any { of_all } else { of_line } {
        config::Family::Any => Family::Any,
        config::Family::V4 => Family::V4,
        config::Family::V6 => Family::V6,
    }
}

fn local_clock(local: &config::LocalClock) -> LocalClock {
    LocalClock {
        unit: local.unit,
        stratum: local.stratum,
        reference_id: ReferenceId::from_octets(local.refid),
    }
}

fn selection(tos: &config::Tos) -> SelectionSettings {
    SelectionSettings {
        minsane: tos.minsane.into(),
        minclock: tos.minclock.into(),
        maxclock: tos.maxclock.into(),
        maxdist: tos.maxdist_seconds,
        mindist: tos.mindist_seconds,
        orphan_stratum: tos.orphan_stratum,
        orphanwait: tos.orphanwait_seconds,
    }
}

fn discipline(options: &Options, config: &Config) -> DisciplineSettings {
    DisciplineSettings {
        control: match (config.switches.ntp, options.never_adjust) {
            (false, _) => ClockControl::None,
            (true, true) => ClockControl::Virtual,
            (true, false) => ClockControl::Kernel,
        },
        step: match config.tinker.step_seconds {
            step if options.slew && step > 0.0 => step.max(SLEW_STEP),
            step => step,
        },
        panic: config.tinker.panic_seconds,
        stepout: config.tinker.stepout_seconds,
        max_slew_ppm: config.tinker.max_slew_ppm,
        allow_first_panic: options.panic_gate,
    }
}

/// Whom a server may follow that we follow. Who serves nobody is followed by nobody.
fn own_addresses(options: &Options) -> Vec<IpAddr> {
    if options.cores == CoreChoice::First(0) {
        return Vec::new();
    }
    let addresses = interfaces::addresses().unwrap_or_default();
    addresses.into_iter().map(|one| one.address.ip()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn settings_of(text: &str, options: &Options) -> Settings {
        let config =
            config::load(Path::new("test.conf"), &mut |_| Ok(text.into())).expect("it is in memory").0;
        settings(options, &config, Precision::from_log2(-24), Some(-1.5))
    }

    #[test]
    fn every_word_of_a_server_line_reaches_the_client() {
        let text = "server -6 a.example iburst prefer minpoll 4 maxpoll 8 key 7 version 3\npool p.example noselect true\nserver 192.0.2.1\nserver fe80::1%lo\nserver n.example nts\n";
        let settings = settings_of(text, &Options::default());
        let first = SourceOptions {
            iburst: true,
            prefer: true,
            minpoll: 4,
            maxpoll: 8,
            key: Some(7),
            version: 3,
            ..SourceOptions::default()
        };
        let second = SourceOptions { noselect: true, truechimer: true, ..SourceOptions::default() };
        let server = |host, options| Source { host, is_pool: false, options };
        let expected = [
            server(Host::Name("a.example".into(), Family::V6), first),
            Source { host: Host::Name("p.example".into(), Family::Any), is_pool: true, options: second },
            server(Host::Address("192.0.2.1".parse().expect("an address"), 0), SourceOptions::default()),
            server(Host::Address("fe80::1".parse().expect("an address"), 1), SourceOptions::default()),
        ];
        assert_eq!(settings.sources, expected);
        assert_eq!(settings.drift_ppm, Some(-1.5));
        assert!(settings.own_addresses.contains(&"127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn whose_clock_is_adjusted_is_up_to_disable_ntp_and_x() {
        let never = Options { never_adjust: true, ..Options::default() };
        for (text, options, control) in [
            ("", &Options::default(), ClockControl::Kernel),
            ("", &never, ClockControl::Virtual),
            ("disable ntp\n", &Options::default(), ClockControl::None),
            ("disable ntp\n", &never, ClockControl::None),
        ] {
            assert_eq!(settings_of(text, options).discipline.control, control, "{text:?}");
        }
    }

    #[test]
    fn l2_the_leap_files_next_second_or_none_if_it_cannot_be_used() {
        let leap = |text: &str| settings_of(text, &Options::default()).leap;
        let path = std::env::temp_dir().join(format!("ntpring-leap-{}.list", std::process::id()));
        let write = |expires: i64| {
            let entries = "3644697600 36\n3692217600 37\n";
            fs::write(&path, format!("#@ {}\n{entries}", expires + 2_208_988_800)).expect("a scratch file");
        };
        let line = format!("leapfile {} ignorehash\n", path.display());
        let expires = clock::realtime().seconds + 86_400;
        write(expires);
        assert_eq!(leap(&line), Some(LeapSecond { at: 1_483_228_800, insert: true, expires }));
        assert_eq!(leap(&format!("leapfile {}\n", path.display())), None, "there is no hash");
        write(clock::realtime().seconds);
        assert_eq!(leap(&line), None, "it has expired");
        for unusable in ["", "leapfile /nonexistent\n", "leapfile /dev/null\n"] {
            assert_eq!(leap(unusable), None, "{unusable}");
        }
        fs::remove_file(path).expect("it was written");
    }

    #[test]
    fn ntpds_x_slews_what_is_less_than_600_s_off() {
        let slew = Options { slew: true, ..Options::default() };
        for (text, options, step, is_slewed) in [
            ("", &Options::default(), 0.128, false),
            ("", &slew, 600.0, true),
            ("tinker step 0.5\n", &slew, 600.0, true),
            ("tinker step 900\n", &slew, 900.0, true),
            ("tinker step 0\n", &slew, 0.0, true),
            ("tinker step 0\n", &Options::default(), 0.0, true),
        ] {
            let discipline = settings_of(text, options).discipline;
            assert_eq!((discipline.step, is_slew_only(&discipline)), (step, is_slewed), "{text:?}");
            assert_eq!(discipline.control, ClockControl::Kernel, "{text:?}");
        }
    }

    #[test]
    fn the_family_of_the_command_line_is_that_of_names_without_one() {
        let v4 = Options { family: config::Family::V4, ..Options::default() };
        let hosts = settings_of("server a.example\nserver -6 b.example\n", &v4).sources;
        let expected = [("a.example", Family::V4), ("b.example", Family::V6)]
            .map(|(name, family)| Host::Name(name.into(), family));
        assert_eq!(hosts.into_iter().map(|source| source.host).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_said_is_the_clients_own_default() {
        let settings = settings_of("", &Options::default());
        assert_eq!(settings.discipline, DisciplineSettings::default());
        assert_eq!(settings.selection, SelectionSettings::default());
        assert_eq!(settings.local_clock, None);
        let settings = settings_of(
            "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\ntinker step 1 panic 2 stepout 3 maxslew 4\ntos minsane 2 minclock 4 maxclock 5 maxdist 6 mindist 7 orphan 8 orphanwait 9\n",
            &Options { panic_gate: true, ..Options::default() },
        );
        let discipline = DisciplineSettings {
            control: ClockControl::Kernel,
            step: 1.0,
            panic: 2.0,
            stepout: 3.0,
            max_slew_ppm: 4.0,
            allow_first_panic: true,
        };
        let selection = SelectionSettings {
            minsane: 2,
            minclock: 4,
            maxclock: 5,
            maxdist: 6.0,
            mindist: 7.0,
            orphan_stratum: 8,
            orphanwait: 9,
        };
        assert_eq!((settings.discipline, settings.selection), (discipline, selection));
        assert_eq!(settings.local_clock.map(|local| (local.unit, local.stratum)), Some((0, 3)));
    }
}
