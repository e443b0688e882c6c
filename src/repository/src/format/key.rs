//! The repository's master key.
use std::fmt;

use aes::{
    Aes128, Aes256,
    cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use poly1305::Poly1305;
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Damaged;

const IV: usize = 16;
const MAC: usize = 16;

/// Opens what restic wrote.
///
/// # Guarantees
///
/// It can be neither printed nor copied, and its memory is overwritten when it
/// is dropped. [`Key::open`] decrypts nothing whose MAC is not right.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Document {
    mac: MacDocument,
    encrypt: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct MacDocument {
    k: String,
    r: String,
}

impl Key {
    /// Bytes by which a stored blob or file is larger than its contents.
    pub(crate) const OVERHEAD: usize = IV + MAC;

    /// Reads what `restic cat masterkey` prints.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Damaged> {
        // serde's messages may quote the text, which is the key itself.
        let malformed = || Damaged::new("restic's master key is not what this version knows");
        let document: Document = serde_json::from_slice(json).map_err(|_| malformed())?;
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        let read = decode(&document.encrypt, &mut key.encrypt)
            .and_then(|()| decode(&document.mac.k, &mut key.mac_k))
            .and_then(|()| decode(&document.mac.r, &mut key.mac_r));
        read.map(|()| key).ok_or_else(malformed)
    }

    /// Authenticates and decrypts `IV || ciphertext || MAC`.
    pub(crate) fn open(&self, mut stored: Vec<u8>) -> Result<Vec<u8>, Damaged> {
        let Some(length) = stored.len().checked_sub(Self::OVERHEAD) else {
            return Err(Damaged::new(format!("it has {} bytes, too few to be encrypted", stored.len())));
        };
        let (iv, rest) = stored.split_at_mut(IV);
        let iv: [u8; IV] = iv.try_into().expect("split after that many bytes");
        let (ciphertext, mac) = rest.split_at_mut(length);
        if !self.is_authentic(&iv, ciphertext, mac) {
            return Err(Damaged::new("its MAC is wrong: it was changed, or belongs to another repository"));
        }
        ctr::Ctr128BE::<Aes256>::new(&self.encrypt.into(), &iv.into()).apply_keystream(ciphertext);
        stored.drain(..IV);
        stored.truncate(length);
        Ok(stored)
    }

    fn is_authentic(&self, iv: &[u8; IV], ciphertext: &[u8], mac: &[u8]) -> bool {
        let expected = self.authenticate(iv, ciphertext);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, mac).is_ok()
    }

    /// Poly1305-AES: the one-time key is `r` and the encrypted nonce.
    fn authenticate(&self, iv: &[u8; IV], ciphertext: &[u8]) -> [u8; MAC] {
        let mut nonce = (*iv).into();
        Aes128::new(&self.mac_k.into()).encrypt_block(&mut nonce);
        let mut once = Zeroizing::new([0; 32]);
        once[..16].copy_from_slice(&self.mac_r);
        once[16..].copy_from_slice(&nonce);
        let once: poly1305::Key = (*once).into();
        Poly1305::new(&once).compute_unpadded(ciphertext).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

fn decode(text: &str, into: &mut [u8]) -> Option<()> {
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    if decoded.len() != into.len() || decoded.iter().all(|byte| *byte == 0) {
        return None;
    }
    into.copy_from_slice(&decoded);
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The key of a repository that restic 0.19.1 made for this test and that is gone.
    const MASTER_KEY: &[u8] = br#"{
        "mac": { "k": "ahPMWZk+PKULxTRsjSAgyQ==", "r": "WDeVwoQX9mW24I/EGcqTyQ==" },
        "encrypt": "BrMAZ7iTGpws+g3/IIDjg/HrR90EIDFy9bKG7qAgSqE="
    }"#;

    pub(crate) fn key() -> Key {
        Key::parse(MASTER_KEY).expect("well formed")
    }

    /// Stores as restic does.
    pub(crate) fn seal(key: &Key, plain: &[u8]) -> Vec<u8> {
        let iv = [7; IV];
        let mut ciphertext = plain.to_vec();
        ctr::Ctr128BE::<Aes256>::new(&key.encrypt.into(), &iv.into()).apply_keystream(&mut ciphertext);
        let mac = key.authenticate(&iv, &ciphertext);
        [&iv[..], &ciphertext, &mac].concat()
    }

    #[test]
    fn what_was_sealed_opens() {
        for plain in [&b""[..], b"a", &[1; 16], &[2; 1000]] {
            assert_eq!(key().open(seal(&key(), plain)).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn a_config_that_restic_wrote_opens() {
        let plain = key().open(hex::decode(CONFIG_OF_RESTIC).expect("hexadecimal")).expect("authentic");
        let text = String::from_utf8(plain).expect("JSON");
        assert!(text.contains("911f001a4bcdfce41db22fc6f4387184c485d97eb38126a299737716e69d3814"), "{text}");
    }

    const CONFIG_OF_RESTIC: &str = "88881ba488cfbaf41926bf66a9094df263836ae25ee14881c86bc9fdb82e23f694720b7d0375cc8c2ce7c2986b94ffcf2df1373ad20902cccb14a0f2cdaf34959bacb7b2f8af1496b61df187a70e38c908b01571126a5ff9853f3510847609262c022e4358314e743185025d29f0b7243277b5931100849ee7c486fbe1c7a3d0d0049d173292b2ab3c02b6d2fe3154b24860d86d4af1c9ff7063c6";

    #[test]
    fn no_changed_byte_goes_unseen() {
        let sealed = seal(&key(), b"some contents");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            key().open(changed).expect_err("changed");
        }
        for length in 0..sealed.len() {
            key().open(sealed[..length].to_vec()).expect_err("cut off");
        }
    }

    #[test]
    fn a_malformed_key_is_refused_and_not_repeated() {
        let zeros = STANDARD.encode([0; 32]);
        let text = String::from_utf8(MASTER_KEY.to_vec()).expect("JSON");
        let encrypt = "BrMAZ7iTGpws+g3/IIDjg/HrR90EIDFy9bKG7qAgSqE=";
        for other in [&zeros, "secret", "", "c2hvcnQ="] {
            let error = Key::parse(text.replace(encrypt, other).as_bytes()).expect_err("malformed");
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(format!("{:?}", key()), "Key(…)");
    }
}
