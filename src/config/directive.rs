//! Every directive of ntp.conf and what becomes of it: honoured by the function beside it, accepted without
//! effect, or refused.

use super::line::Line;
use super::load::Draft;
use super::vocabulary::{Policy, Vocabulary, Word, honour, later, reject};
use super::{association, files, inactive, interface, local_clock, options, restrict, statistics};

/// Understands the rest of a line that begins with the directive.
pub(super) type Handler = fn(&mut Draft, &mut Line<'_, '_>);

/// The words that a line may begin with.
pub(super) static DIRECTIVES: Vocabulary<Handler> = Vocabulary { what: "directive", words: DIRECTIVE_WORDS };

/// Whatever follows it on the line is skipped, too.
const fn accept(name: &'static str, why: &'static str) -> Word<Handler> {
    Word { name, policy: Policy::Accept { values: 0 }, inactive: None, meaning: why }
}

const NO_AUTOKEY: &str = "Autokey is insecure and not supported; use `keys`";
const NO_BROADCAST: &str = "broadcast time is easily forged; use `server` or `pool`";
const NO_NTS: &str = "network time security is not supported yet";
const NO_RECONFIGURATION: &str = "the configuration is changed in its file only";
const OLD: &str = "it is a word of old versions";

const DIRECTIVE_WORDS: &[Word<Handler>] = &[
    // Whom time is taken from.
    honour(
        "server",
        association::server,
        "a source: `server [-4|-6] HOST [option]...`; 127.127.1.u is the local clock",
    ),
    honour("pool", association::pool, "a source for each address of a name: `pool [-4|-6] NAME [option]...`"),
    honour("peer", association::peer, "with one warning, the same as `server`"),
    honour(
        "refclock",
        local_clock::refclock,
        "`refclock local [option]...` is the local clock; other drivers are errors",
    ),
    honour("fudge", local_clock::fudge, "settings of the local clock: `fudge 127.127.1.u [option]...`"),
    reject("broadcast", NO_BROADCAST),
    reject("broadcastclient", NO_BROADCAST),
    reject("multicastclient", NO_BROADCAST),
    reject("manycastclient", NO_BROADCAST),
    reject("manycastserver", NO_BROADCAST),
    // Who may ask.
    honour(
        "restrict",
        restrict::restrict,
        "who may ask what: `restrict [-4|-6] ADDRESS|default|source [flag]...`",
    ),
    reject("unrestrict", "take the flags from the `restrict` line instead"),
    honour("discard", options::discard, "rate limit of `limited` addresses: `discard [option number]...`"),
    honour("limit", options::limit, "the same, in ntpsec's words: `limit [option number]...`"),
    honour(
        "interface",
        interface::interface,
        "`interface listen|ignore|drop all|ipv4|ipv6|wildcard|ADDRESS[/BITS]|NAME`",
    ),
    honour("nic", interface::interface, "another name of `interface`"),
    // Keys.
    honour("keys", files::keys, "file of symmetric keys, one a line: `ID TYPE KEY [HOSTS]`"),
    honour("trustedkey", files::trusted_key, "key ids in use, 1–65535: `trustedkey 1 5 (10 ... 20)`"),
    honour("controlkey", files::control_key, "the key that ntpq's ifstats and reslist are told to, 1–65535"),
    accept("requestkey", "there is no mode 7"),
    accept("crypto", NO_AUTOKEY),
    accept("keysdir", NO_AUTOKEY),
    accept("ident", NO_AUTOKEY),
    accept("revoke", NO_AUTOKEY),
    accept("automax", NO_AUTOKEY),
    reject("autokey", NO_AUTOKEY),
    accept("nts", NO_NTS),
    accept("ntpsigndsocket", "signing for Windows domains is not supported"),
    // Files.
    honour("includefile", files::include_file, "more configuration, up to 5 files deep"),
    honour("driftfile", files::drift_file, "where the frequency error is kept, parts per million"),
    honour("leapfile", files::leap_file, "leap second table: `leapfile PATH [checkhash|ignorehash]`"),
    honour("logfile", files::log_file, "where the log goes instead of standard error"),
    honour("pidfile", files::pid_file, "where the process id is written"),
    later("statsdir", statistics::statsdir, "where statistics files are written", &inactive::STATISTICS),
    later(
        "statistics",
        statistics::statistics,
        "which statistics files are written: `statistics SET...`",
        &inactive::STATISTICS,
    ),
    later(
        "filegen",
        statistics::filegen,
        "how statistics files are written: `filegen SET [option]...`",
        &inactive::STATISTICS,
    ),
    accept("logconfig", "what is logged is not selected by class"),
    // Numbers and switches.
    honour("tinker", options::tinker, "the clock discipline: `tinker [option number]...`"),
    honour("tos", options::tos, "selection among sources: `tos [option number]...`"),
    honour("enable", options::enable, "`enable SWITCH...`"),
    honour("disable", options::disable, "`disable SWITCH...`"),
    honour("mru", options::mru, "room for clients, in each worker: `mru [option number]...`"),
    honour("dscp", options::dscp, "DSCP of sent packets, 0–63"),
    later(
        "leapsmearinterval",
        options::leap_smear_interval,
        "spread a leap second over so many seconds, 0–86400",
        &inactive::LEAP_SMEAR,
    ),
    // The rest.
    accept("rlimit", "limits are those of the service manager"),
    accept("setvar", "there are no variables of users"),
    accept("trap", "there are no traps"),
    accept("phone", "there is no modem driver"),
    accept("tick", "the tick is the kernel's"),
    accept("nonvolatile", "when the driftfile is written cannot be chosen"),
    accept("saveconfigdir", NO_RECONFIGURATION),
    accept("unpeer", NO_RECONFIGURATION),
    accept("unconfig", NO_RECONFIGURATION),
    accept("reset", NO_RECONFIGURATION),
    accept("extra", "`ntpring serve --listen` takes any address and port"),
    accept("mdnstries", "nothing is registered with mDNS"),
    accept("pollskewlist", "polls are spread at random"),
    accept("device", "no reference clock has a device"),
    accept("authenticate", OLD),
    accept("authdelay", OLD),
    accept("broadcastdelay", OLD),
    accept("calldelay", OLD),
    accept("clientlimit", OLD),
    accept("clientperiod", OLD),
    accept("dynamic", OLD),
    accept("maxpoll", "it is an option of `server`"),
    accept("minpoll", "it is an option of `server`"),
    accept("multicastdelay", OLD),
    accept("novolley", OLD),
    accept("precision", "the precision is measured"),
    accept("qos", OLD),
    reject("simulate", "there is no simulator"),
];

/// Understands one line, the first word of which is its directive.
pub(super) fn obey(draft: &mut Draft, line: &mut Line<'_, '_>) {
    match line.look_up(line.keyword(), &DIRECTIVES) {
        Some(handler) => handler(draft, line),
        None => {
            line.skip_rest();
            // Gives the warning, if it is one.
            line.is_good();
        }
    }
}
