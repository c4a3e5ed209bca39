//! Commands against a played server, whose answers are those of real ones.

use clap::Parser;

use super::commands::{Shell, Trouble};
use super::session::{Ask, Failure};
use super::{Args, Commands};
use crate::control::{ErrorCode, Opcode, Response};

/// Answers by (opcode, association, data); anything else is an unknown variable.
struct Played(Vec<(Opcode, u16, &'static str, u16, Vec<u8>)>);

impl Ask for Played {
    fn ask(&mut self, opcode: Opcode, association: u16, data: &[u8]) -> Result<Response, Failure> {
        let asked = String::from_utf8_lossy(data).into_owned();
        self.0
            .iter()
            .find(|(known, about, with, ..)| (*known, *about, *with) == (opcode, association, &*asked))
            .map(|(.., status, data)| Response { status: *status, data: data.clone() })
            .ok_or(Failure::Refused(ErrorCode::UnknownVariable))
    }
}

/// The classic ntpd of the capture m6-cl-client-ntpq-pn, and one that follows nobody.
const CLASSIC_PEER: &[u8] = b"srcadr=192.168.0.1, srcport=123, dstadr=192.168.0.2, dstport=123,\r\n\
    leap=0, stratum=4, precision=-24, rootdelay=0.000, rootdisp=11.124,\r\n\
    refid=127.127.1.0, reftime=0xeeadd289.8ed9a445, rec=0x00000000.00000000,\r\n\
    reach=0xff, unreach=0, hmode=3, pmode=4, hpoll=6, ppoll=6, headway=270,\r\n\
    flash=0x0, keyid=0, offset=0.011, delay=0.036, dispersion=3.176,\r\n\
    jitter=0.006, xleave=0.071,\r\nfiltdelay= 0.05 0.05 0.05 0.04 0.06 0.05 0.06 0.06,\r\n\
    filtoffset= 0.01 -0.00 0.02 0.01 0.02 0.01 0.01 0.00,\r\n\
    filtdisp= 0.00 0.99 2.01 3.00 3.99 5.01 6.00 7.04\r\n";
const LOCAL_CLOCK: &[u8] = b"srcadr=127.127.1.0, srcport=123, dstadr=127.0.0.1, dstport=123, leap=0,\r\n\
    stratum=3, precision=-24, rootdelay=0.000, rootdisp=10.000, refid=LOCL,\r\n\
    reftime=0x00000000.00000000, rec=0x00000000.00000000, reach=0x1f,\r\nhmode=3, hpoll=6, ppoll=6, \
    offset=0.000000, delay=0.000000, jitter=0.004123\r\n";
const POOL: &[u8] =
    b"srcadr=0.0.0.0, refid=POOL, stratum=16, hmode=3, hpoll=6, ppoll=10, reach=0x0, offset=0.0";

fn played() -> Shell<Played> {
    let associations =
        [[0x82, 0x40, 0x96, 0x1A], [0xA9, 0x05, 0x90, 0x14], [0x00, 0x07, 0x88, 0x11]].concat();
    Shell::playing(Played(vec![
        (Opcode::ReadStatus, 0, "", 0x0615, associations),
        (Opcode::ReadVariables, 0x8240, "", 0x961A, CLASSIC_PEER.to_vec()),
        (Opcode::ReadVariables, 0xA905, "", 0x9014, LOCAL_CLOCK.to_vec()),
        (Opcode::ReadVariables, 7, "", 0x8811, POOL.to_vec()),
        (Opcode::ReadVariables, 0x8240, "stratum,offset", 0x961A, b"stratum=4, offset=0.011\r\n".to_vec()),
        (Opcode::ReadVariables, 0, "leap", 0x0615, b"leap=0\r\n".to_vec()),
        (Opcode::ReadVariables, 0, "leap,stratum", 0x0615, b"leap=0, stratum=4\r\n".to_vec()),
        (Opcode::ReadClock, 0xA905, "leap,stratum", 0, b"leap=0, stratum=3\r\n".to_vec()),
        (Opcode::WriteVariables, 0, "leap=1,owner=\"a, b\"", 0, Vec::new()),
        (Opcode::WriteVariables, 0x8240, "leap,stratum", 0x961A, b"leap=0\r\n".to_vec()),
        (Opcode::Configure, 0, "server 192.168.0.1 iburst", 0, b"Config Succeeded\r\n\0".to_vec()),
        (Opcode::Configure, 0, "restrict default", 0, b"\x1b[2J1:line\r\n2".to_vec()),
        (Opcode::SaveConfiguration, 0, "now.conf", 0, b"Configuration saved to `now.conf'\r\n".to_vec()),
        (Opcode::ReadVariables, 0, "stratum", 0x0615, b"stratum=4\r\n".to_vec()),
        (Opcode::ReadVariables, 0, "peeradr", 0x0615, b"peeradr=127.127.1.0:123\r\n".to_vec()),
        (Opcode::RequestNonce, 0, "", 0, b"nonce=eead\r\n".to_vec()),
        (Opcode::ReadMru, 0, "nonce=eead, frags=32", 0, MRU_BEGIN.to_vec()),
        (
            Opcode::ReadMru,
            0,
            "nonce=eeae, frags=32, last.0=0xeeadd297.90c16dcc, addr.0=192.168.0.2:123",
            0,
            MRU_END.to_vec(),
        ),
        (
            Opcode::ReadMru,
            0,
            "nonce=eead, frags=32, mincount=2, resall=0x20, maxlstint=600, resany=0x420",
            0,
            MRU_END.to_vec(),
        ),
    ]))
}

const MRU_BEGIN: &[u8] = b"nonce=eeae, last.0=0xeeadd0b3.697210c9, rs.0=0x3b0,\r\naddr.0=[fd00::2]:40152, \
    first.0=0xeeadd0b3.697210c9, ct.0=1, mv.0=35,\r\nHWX.0=18446744073709507028, last.1=0xeeadd297.90c16dcc, \
    rs.1=0x390,\r\nmv.1=35, first.1=0xeeadcf37.dc9049ab, ct.1=37, addr.1=192.168.0.2:123\r\n";
const MRU_END: &[u8] =
    b"nonce=eeaf, addr.0=192.168.0.9:50000, last.0=0xeeadd2c0.00000000, ct.0=2, mv.0=22,\r\n\
    first.0=0xeeadd2be.00000000, rs.0=0x420, now=0xeeadd2c3.0136f16c, last.newest=0xeeadd2c0.0\r\n";

fn said(line: &str) -> String {
    match played().run_asking(line) {
        Ok(text) | Err(Trouble::Usage(text)) => text,
        Err(Trouble::Server(failure)) => failure.to_string(),
    }
}

/// How long ago something was changes with the day; it is not what is tested here.
fn without_when(table: &str) -> Vec<String> {
    table
        .lines()
        .map(|line| line.char_indices().filter(|(at, _)| !(38..43).contains(at)).map(|(_, c)| c).collect())
        .collect()
}

#[test]
fn peers_are_the_classic_table() {
    let table = said("peers");
    assert_eq!(
        without_when(&table),
        [
            "     remote           refid      st t poll reach   delay   offset  jitter",
            &"=".repeat(73),
            "*192.168.0.1     LOCAL(0)         4 u   64  377    0.036    0.011   0.006",
            " 127.127.1.0     .LOCL.           3 l   64   37    0.000    0.000   0.004",
            " 0.0.0.0         .POOL.          16 p   64    0             0.000        ",
        ],
        "{table}"
    );
    assert_eq!(said("pe"), table);
    assert!(said("peers -6").lines().count() == 2);
    assert!(said("apeers").contains("*192.168.0.1     LOCAL(0)        33344  4 u"), "{}", said("apeers"));
    assert!(said("opeers").contains("*192.168.0.1     192.168.0.2      4 u"), "{}", said("opeers"));
}

#[test]
fn associations_are_the_classic_table() {
    assert_eq!(
        said("as"),
        "\nind assid status  conf reach auth condition  last_event cnt\n\
         ===========================================================\n\
         \x20 1 33344  961a   yes   yes  none  sys.peer    sys_peer  1\n\
         \x20 2 43269  9014   yes   yes  none    reject   reachable  1\n\
         \x20 3     7  8811   yes    no  none    reject    mobilize  1\n"
    );
    assert_eq!(said("lassoc"), said("as"));
}

#[test]
fn variables_are_asked_for_by_association_index_and_name() {
    let expected = "associd=33344 status=961a conf, reach, sel_sys.peer, 1 event, sys_peer,\n\
                    stratum=4, offset=0.011\n";
    assert_eq!(said("rv 33344 stratum,offset"), expected);
    assert_eq!(said("readvar 33344 stratum offset"), expected);
    let mut shell = played();
    shell.run_asking("as").unwrap();
    assert_eq!(shell.run_asking("rl &1 stratum,offset").unwrap(), expected);
    assert!(shell.run_asking("mrv &1 &2").unwrap().contains("associd=43269 status=9014"));
    assert_eq!(said("rv 5"), "***A request variable unknown to the server");
    // Without an `as` before it, an index is of what it would show.
    assert_eq!(said("rv &1 stratum,offset # the first"), expected);
    assert!(said("rv &4").contains("out of range [1..3]"));
    assert!(said("rv 99999").contains("Invalid association ID"));
}

#[test]
fn a_server_that_lacks_a_variable_is_asked_for_the_others() {
    assert_eq!(
        said("sysinfo"),
        "associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,\n\
         system peer:        127.127.1.0:123\n\
         leap indicator:     00\n\
         stratum:            4\n"
    );
}

#[test]
fn the_client_list_goes_on_where_it_stopped() {
    assert_eq!(
        said("mrulist"),
        "lstint avgint rstr r m v  count rport remote address\n\
         ==============================================================================\n\
         \x20    3      2  420 K 6 2      2 50000 192.168.0.9\n\
         \x20   43     24  390 . 3 4     37   123 192.168.0.2\n\
         \x20  528      0  3b0 L 3 4      1 40152 fd00::2\n"
    );
}

#[test]
fn the_client_list_is_of_those_wanted_in_the_order_wanted() {
    let addresses = |line: &str| {
        said(line).lines().skip(2).map(|row| row.rsplit_once(' ').expect("columns").1.to_owned()).collect()
    };
    let (v6, first, last) = ("fd00::2", "192.168.0.2", "192.168.0.9");
    for (order, expected) in [
        ("lstint", [last, first, v6]),
        ("-lstint", [v6, first, last]),
        ("avgint", [v6, last, first]),
        ("count", [v6, last, first]),
        ("-count", [first, last, v6]),
        ("addr", [first, last, v6]),
        ("-addr", [v6, last, first]),
    ] {
        let shown: Vec<String> = addresses(&format!("mrulist sort={order}"));
        assert_eq!(shown, expected, "{order}");
    }
    // The server chooses.
    let shown: Vec<String> = addresses("mrulist limited mincount=2 kod resall=32 maxlstint=600");
    assert_eq!(shown, [last]);
    for (word, problem) in [
        ("nonsense", "***\"nonsense\" selects no clients"),
        ("mincount=few", "***Invalid number in \"mincount=few\""),
        ("sort=age", "***Sort order \"age\" is none of"),
    ] {
        assert!(said(&format!("mrulist {word}")).starts_with(problem), "{word}");
    }
}

#[test]
fn commands_are_found_by_their_beginning_if_it_is_unique() {
    assert!(said("p").contains("ambiguous"));
    assert!(said("nosuch").contains("unknown"));
    assert!(said("help sysst").contains("usage: sysstats"));
    assert!(said("help").contains("mrulist"));
    assert_eq!(said("hostnames no"), "hostnames not being displayed\n");
    assert_eq!(said("  "), "");
    assert_eq!(said("# nothing"), "");
    assert_eq!(said("pstat"), "usage: pstats assocID");
    assert_eq!(said("help").matches("pstats").count(), 1);
}

#[test]
fn options_are_commands_in_their_order() {
    let commands = |words: &str| {
        let Args { commands: Commands(commands), .. } = Args::parse_from(words.split(' '));
        commands
    };
    assert_eq!(commands("ntpq -pn -c rv host"), ["peers", "rv"]);
    assert_eq!(commands("ntpq -c rv -n -p -c as"), ["rv", "peers", "as"]);
    assert_eq!(commands("ntpq --peers"), ["peers"]);
    assert_eq!(commands("ntpq -n"), [""; 0]);
}

#[test]
fn every_command_is_found_by_its_whole_name() {
    for line in said("help").lines().skip(1) {
        let name = line.split_ascii_whitespace().next().unwrap();
        assert!(!said(name).contains("ambiguous") && !said(name).contains("unknown'"), "{name}");
    }
}

#[test]
fn the_list_of_variables_is_what_lists_ask_for() {
    let mut shell = played();
    let mut say = |line: &str| match shell.run_asking(line) {
        Ok(text) | Err(Trouble::Usage(text)) => text,
        Err(Trouble::Server(failure)) => failure.to_string(),
    };
    assert_eq!(say("showvars"), "No variables on list\n");
    assert_eq!(say("addvars leap, stratum=5 ,owner=\"a, b\""), "");
    assert_eq!(say("showvars"), "leap\nstratum=5\nowner=\"a, b\"\n");
    assert_eq!(say("addvars"), "usage: addvars name[=value][,...]");
    // The same name again has another value, in its old place.
    assert_eq!(say("addvars stratum"), "");
    assert_eq!(say("rmvars owner"), "");
    assert_eq!(say("rmvars owner"), "***Variable `owner' not found");
    let expected = "leap=00, stratum=4\n";
    for line in ["rl", "readlist", "rl 0"] {
        assert!(say(line).ends_with(expected), "{line}: {}", say(line));
    }
    assert!(say("cl 43269").ends_with("leap=00, stratum=3\n"));
    // What names its variables, and what never looks at the list.
    assert!(say("rl 33344 stratum,offset").ends_with("stratum=4, offset=0.011\n"));
    assert!(say("rv 33344").contains("srcadr=192.168.0.1"));
    assert!(say("mrv 33344 33344").contains("srcadr=192.168.0.1"));
    assert!(say("mrl 33344 33344").contains("unknown to the server"), "it has no leap,stratum");
    assert_eq!(say("clearvars"), "");
    assert_eq!(say("showvars"), "No variables on list\n");
    assert!(say("rl 33344").contains("srcadr=192.168.0.1"));
    let many: Vec<String> = (0..129).map(|number| format!("v{number}")).collect();
    assert_eq!(say(&format!("addvars {}", many.join(","))), "***The list has room for 128 variables");
}

#[test]
fn what_changes_a_server_is_signed_and_shows_what_it_says() {
    for line in ["writevar 0 leap=1", "config server x", "saveconfig x", "config-from-file /dev/null"] {
        assert!(said(line).starts_with("***No keyid defined"), "{line}: {}", said(line));
    }
    let mut shell = played();
    let mut say = |line: &str| match shell.run_asking(line) {
        Ok(text) | Err(Trouble::Usage(text)) => text,
        Err(Trouble::Server(failure)) => failure.to_string(),
    };
    say("keyid 1");
    say("passwd x");
    assert_eq!(say("writevar 0 leap=1, owner=\"a, b\""), "done! (no data returned)\n");
    assert_eq!(say("writevar"), "usage: writevar assocID name=value[,...]");
    assert_eq!(say("writevar 0"), "usage: writevar assocID name=value[,...]");
    assert_eq!(say("writelist"), "***No variables on list");
    say("addvars leap,stratum");
    assert!(say("writelist 33344").ends_with("\nleap=00\n"));
    assert_eq!(say("config server 192.168.0.1  iburst # the one"), "Config Succeeded\n");
    assert_eq!(say(":config restrict default"), "?[2J1:line\n2\n");
    assert_eq!(say("config"), "usage: config line");
    assert_eq!(
        say(&format!("config {}", "x".repeat(469))),
        "***Longer than a request may be, which is 468 octets"
    );
    assert_eq!(say("saveconfig now.conf"), "Configuration saved to `now.conf'\n");
    assert_eq!(say("saveconfig"), "usage: saveconfig file");
    assert!(say("config-from-file /no/such/file").starts_with("***Cannot read /no/such/file: "));
}
