//! The commands that we send (TPM 2.0 Library Part 2, section 6.5.2) and what of them a session can encrypt.

/// A command.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    /// Its name in the specification, without `TPM2_`.
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    /// Its first parameter is a sized buffer, which a session can encrypt.
    pub(crate) hides_parameter: bool,
    /// The same of its response.
    pub(crate) hides_response: bool,
    /// Its response begins with a handle.
    pub(crate) gives_handle: bool,
}

const fn code(name: &'static str, number: u32) -> Code {
    Code { name, number, hides_parameter: false, hides_response: false, gives_handle: false }
}

impl Code {
    const fn hides(mut self, parameter: bool, response: bool) -> Self {
        self.hides_parameter = parameter;
        self.hides_response = response;
        self
    }

    const fn handle(mut self) -> Self {
        self.gives_handle = true;
        self
    }
}

pub(crate) const EVICT_CONTROL: Code = code("EvictControl", 0x120);
pub(crate) const NV_UNDEFINE: Code = code("NV_UndefineSpace", 0x122);
pub(crate) const NV_DEFINE: Code = code("NV_DefineSpace", 0x12a).hides(true, false);
pub(crate) const CREATE_PRIMARY: Code = code("CreatePrimary", 0x131).hides(true, true).handle();
pub(crate) const NV_INCREMENT: Code = code("NV_Increment", 0x134);
pub(crate) const NV_WRITE: Code = code("NV_Write", 0x137).hides(true, false);
pub(crate) const POLICY_NV: Code = code("PolicyNV", 0x149).hides(true, false);
pub(crate) const NV_READ: Code = code("NV_Read", 0x14e).hides(false, true);
pub(crate) const CREATE: Code = code("Create", 0x153).hides(true, true);
pub(crate) const LOAD: Code = code("Load", 0x157).hides(true, true).handle();
pub(crate) const QUOTE: Code = code("Quote", 0x158).hides(true, true);
pub(crate) const SIGN: Code = code("Sign", 0x15d).hides(true, false);
pub(crate) const UNSEAL: Code = code("Unseal", 0x15e).hides(false, true);
pub(crate) const POLICY_SIGNED: Code = code("PolicySigned", 0x160);
pub(crate) const FLUSH_CONTEXT: Code = code("FlushContext", 0x165);
pub(crate) const LOAD_EXTERNAL: Code = code("LoadExternal", 0x167).handle();
pub(crate) const NV_READ_PUBLIC: Code = code("NV_ReadPublic", 0x169);
pub(crate) const POLICY_AUTHORIZE: Code = code("PolicyAuthorize", 0x16a);
pub(crate) const READ_PUBLIC: Code = code("ReadPublic", 0x173);
pub(crate) const START_AUTH_SESSION: Code = code("StartAuthSession", 0x176).handle();
pub(crate) const VERIFY_SIGNATURE: Code = code("VerifySignature", 0x177);
pub(crate) const GET_CAPABILITY: Code = code("GetCapability", 0x17a);
pub(crate) const GET_RANDOM: Code = code("GetRandom", 0x17b).hides(false, true);
pub(crate) const PCR_READ: Code = code("PCR_Read", 0x17e);
pub(crate) const POLICY_PCR: Code = code("PolicyPCR", 0x17f);
pub(crate) const READ_CLOCK: Code = code("ReadClock", 0x181);
pub(crate) const PCR_EXTEND: Code = code("PCR_Extend", 0x182);
pub(crate) const NV_CERTIFY: Code = code("NV_Certify", 0x184).hides(true, true);
pub(crate) const ENCRYPT_DECRYPT_2: Code = code("EncryptDecrypt2", 0x193).hides(true, true);
