//! Revocation lists: which certificates they refuse, and which lists are refused themselves.

use super::tests::{Authority, Dir, Pair, client, handshake, load_error};
use super::*;
use rcgen::KeyPair;
use rustls::Error;

/// Authority, list and directory of a server that trusts the authority.
struct Setup {
    dir: Dir,
    files: TlsFiles,
    server: Authority,
}

impl Setup {
    fn trusting(trusted: &[&Authority]) -> Setup {
        let (dir, server) = (Dir::new(), Authority::new("server"));
        let bundle: String = trusted.iter().map(|authority| authority.pem.as_str()).collect();
        let files = TlsFiles { trusted_ca: Some(dir.write("ca.crt", bundle)), ..dir.server(&server.issue(1)) };
        Setup { dir, files, server }
    }

    fn with(&self, list: impl AsRef<[u8]>) -> TlsFiles {
        TlsFiles { client_crl: Some(self.dir.write("crl", list)), ..self.files.clone() }
    }

    fn admits(&self, list: impl AsRef<[u8]>, pair: &Pair) -> Result<(), Error> {
        let server = Reloading::load(self.with(list)).expect("valid");
        handshake(&server, client(&self.server, Some(pair), |_| ())).map(|_| ())
    }
}

#[test]
fn revoked_certificates_are_refused_whatever_the_lists_date_and_form() {
    let authority = Authority::new("ca");
    let (setup, good, revoked) = (Setup::trusting(&[&authority]), authority.issue(2), authority.issue(3));
    let list = authority.revoke(&[3]);
    let (der, pem) = (list.der().to_vec(), list.pem().expect("pem").into_bytes());
    let other = authority.revoke(&[9]);
    let several = [[&pem[..], other.pem().expect("pem").as_bytes()].concat(), [&other.der()[..], &der].concat()];
    for content in [der, pem].into_iter().chain(several) {
        assert_eq!(setup.admits(&content, &good), Ok(()));
        let error = setup.admits(&content, &revoked).expect_err("revoked").to_string();
        assert!(error.contains("transport: certificate serial 03 revoked"), "{error}");
    }
    assert_eq!(setup.admits(authority.revoke(&[]).der(), &revoked), Ok(()), "an empty list revokes nothing");
}

/// etcd compares numbers and nothing else.
#[test]
fn a_serial_number_is_refused_whoever_issued_it_and_wherever_in_the_chain() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let setup = Setup::trusting(&[&authority]);
    assert!(setup.admits(stranger.revoke(&[3]).der(), &authority.issue(3)).is_err());
    assert_eq!(setup.admits(stranger.revoke(&[3]).der(), &authority.issue(4)), Ok(()));
    let between = Authority::between(&authority, 5);
    let client = between.issue(6);
    let chained = Pair { cert: client.cert + &between.pem, key: client.key };
    assert!(setup.admits(authority.revoke(&[9]).der(), &between.issue(7)).is_err(), "no way up is sent");
    assert_eq!(setup.admits(authority.revoke(&[7]).der(), &chained), Ok(()));
    assert!(setup.admits(authority.revoke(&[5]).der(), &chained).is_err(), "the one between is revoked");
}

#[test]
fn a_list_of_an_older_authority_of_the_same_name_leaves_the_new_ones_clients_alone() {
    let (old, new) = (Authority::new("ca"), Authority::new("ca"));
    let list = old.revoke(&[3]);
    for trusted in [&[&old, &new][..], &[&new, &old], &[&new]] {
        let setup = Setup::trusting(trusted);
        assert_eq!(setup.admits(list.der(), &new.issue(4)), Ok(()));
        if trusted.len() == 2 {
            assert_eq!(setup.admits(list.der(), &old.issue(4)), Ok(()));
            assert!(setup.admits(list.der(), &old.issue(3)).is_err());
        }
    }
}

#[test]
fn a_list_whose_signature_is_not_its_issuers_is_refused() {
    let authority = Authority::new("ca");
    let setup = Setup::trusting(&[&authority, &Authority::new("other")]);
    let mut forged = authority.revoke(&[3]).der().to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    // A number that was changed, and one list of two.
    let mut changed = authority.revoke(&[0x5a5a]).der().to_vec();
    let at = changed.windows(2).position(|pair| pair == [0x5a, 0x5a]).expect("the number");
    changed[at] = 0x5b;
    let second = [&authority.revoke(&[4]).der()[..], &forged].concat();
    for list in [forged, changed, second] {
        let error = load_error(setup.with(list));
        assert!(error.contains("the signature of the list is not that of its issuer (CN=ca)"), "{error}");
    }
    let whole = authority.revoke(&[3]).der().to_vec();
    for broken in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        assert!(load_error(setup.with(broken)).contains("not a revocation list in DER at byte"));
    }
}

impl Authority {
    /// One that `above` has issued.
    fn between(above: &Authority, serial: u64) -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("valid names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.serial_number = Some(serial.into());
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        let key = KeyPair::generate().expect("key");
        let pem = params.signed_by(&key, &above.issuer).expect("signed").pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }
}
