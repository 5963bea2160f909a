// The virtual laptop's firmware: token storage behind the Dell calling interface (ACPI WMI), a thermal zone
// with a fan, and calls of the laptop's own that inject faults. Written by the program `firmware` from
// src/machine/firmware.asl and the machine's data file; the words between at-signs are filled in.
DefinitionBlock ("", "SSDT", 2, "DELL  ", "DSMILFW ", 0x00000001)
{
    External (\_SB.CPUS.C000, UnknownObj)

    Scope (\_SB)
    {
        // The latch of QEMU's pc-testdev: 32 bits at I/O 0xE0, in tenths of a kelvin, zero after reset.
        OperationRegion (LTCR, SystemIO, 0xE0, 0x04)
        Field (LTCR, DWordAcc, NoLock, Preserve) { LTCH, 32 }

        // The journal's debug port: what is written here is in a file of the host at once.
        OperationRegion (JRNR, SystemIO, @JOURNAL_PORT@, 0x01)
        Field (JRNR, ByteAcc, NoLock, Preserve) { JRNL, 8 }

        PowerResource (FNPR, 0x00, 0x0000)
        {
            Name (FNST, 0x00)
            Method (_STA, 0, NotSerialized) { Return (FNST) }
            Method (_ON, 0, NotSerialized) { FNST = 0x01 }
            Method (_OFF, 0, NotSerialized) { FNST = 0x00 }
        }

        Device (FAN0)
        {
            Name (_HID, EisaId ("PNP0C0B"))
            Name (_UID, 0x00)
            Name (_PR0, Package () { FNPR })
        }

        Device (DSFW)
        {
            Name (_HID, EisaId ("PNP0C14"))
            Name (_UID, "DSFW")

            // 8D9DDCBC-A997-11DA-B012-B622A1EF5492: data block "BA", one instance.
            // A80593CE-A997-11DA-B012-B622A1EF5492: method "BB", one instance.
            Name (_WDG, Buffer ()
            {
                0xBC, 0xDC, 0x9D, 0x8D, 0x97, 0xA9, 0xDA, 0x11,
                0xB0, 0x12, 0xB6, 0x22, 0xA1, 0xEF, 0x54, 0x92,
                0x42, 0x41, 0x01, 0x00,
                0xCE, 0x93, 0x05, 0xA8, 0x97, 0xA9, 0xDA, 0x11,
                0xB0, 0x12, 0xB6, 0x22, 0xA1, 0xEF, 0x54, 0x92,
                0x42, 0x42, 0x01, 0x02
            })

            // The descriptor: "DELL", " WMI", interface version 1, buffer of 4096 bytes, hotfix 1.
            Name (WQBA, Buffer (0x80)
            {
                0x44, 0x45, 0x4C, 0x4C, 0x20, 0x57, 0x4D, 0x49,
                0x01, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00,
                0x01, 0x00, 0x00, 0x00
            })

            // Token storage: three banks, one for each select, of @CELLS@ little-endian words of 32 bits.
            Name (NVRM, Buffer (@NVRM_LENGTH@)
            {
@NVRM@
            })

            // One byte for each location: 1 where a token stands on it.
            Name (KNOW, Buffer (@CELLS@)
            {
@KNOW@
            })

            // Fault slots of 16 bytes: u8 kind (0 free), u8 classes (bit 0 read, bit 1 write), u16 location
            // (FFFF any), u32 calls to skip, u32 calls to hit (0 for ever), u32 argument.
            Name (FLTS, Buffer (@FAULTS_LENGTH@)
            {
@FAULTS@
            })

            // Slots that are taken: without any, a call is spared the look at them, most of what it would cost.
            Name (FTKN, @FAULTS_TAKEN@)

            Name (PWST, 0x00) // 1: an administrator password is set

            Name (CRDS, 0x00) // read calls
            Name (CWRS, 0x00) // write calls
            Name (CFLT, 0x00) // faults applied

            // What the faults make of the call under way.
            Name (XSTS, 0x00) // status in place of the work, 0 for none
            Name (XEND, 0x00) // status after the work
            Name (XLEN, 0x00) // bytes of the reply
            Name (XSLP, 0x00) // milliseconds to sleep first
            Name (XIGN, 0x00) // answer without storing

            Method (NVRD, 2, Serialized) // select, location
            {
                CreateDWordField (NVRM, (((Arg0 * @CELLS@) + Arg1) << 0x02), CELL)
                Return (CELL)
            }

            Method (NVWR, 3, Serialized) // select, location, value
            {
                // The journal first: a write that the power cut interrupts here has not happened.
                JRNL = @JOURNAL_MARK@
                JRNL = (Arg0 & 0xFF)
                JRNL = (Arg1 & 0xFF)
                JRNL = ((Arg1 >> 0x08) & 0xFF)
                JRNL = (Arg2 & 0xFF)
                JRNL = ((Arg2 >> 0x08) & 0xFF)
                JRNL = ((Arg2 >> 0x10) & 0xFF)
                JRNL = ((Arg2 >> 0x18) & 0xFF)
                CreateDWordField (NVRM, (((Arg0 * @CELLS@) + Arg1) << 0x02), CELL)
                CELL = Arg2
            }

            Method (ISLO, 1, NotSerialized) // location: does a token stand on it?
            {
                If (Arg0 >= @CELLS@) { Return (0x00) }
                Return (DerefOf (KNOW [Arg0]))
            }

            Method (FLT1, 3, Serialized) // offset of the slot, class, location
            {
                CreateByteField (FLTS, Arg0, KIND)
                CreateByteField (FLTS, (Arg0 + 0x01), CLSS)
                CreateWordField (FLTS, (Arg0 + 0x02), LOCA)
                CreateDWordField (FLTS, (Arg0 + 0x04), SKIP)
                CreateDWordField (FLTS, (Arg0 + 0x08), COUN)
                CreateDWordField (FLTS, (Arg0 + 0x0C), ARGU)
                If ((CLSS & (0x01 << Arg1)) == 0x00) { Return (0x00) }
                If ((LOCA != 0xFFFF) && (LOCA != Arg2)) { Return (0x00) }
                If (SKIP > 0x00)
                {
                    SKIP = (SKIP - 0x01)
                    Return (0x00)
                }

                CFLT++
                Local0 = KIND
                If (COUN > 0x00)
                {
                    COUN = (COUN - 0x01)
                    If (COUN == 0x00)
                    {
                        KIND = 0x00
                        FTKN--
                    }
                }

                If (Local0 == @KIND_ERROR@) { XSTS = 0xFFFFFFFF }
                If (Local0 == @KIND_UNSUPPORTED@) { XSTS = 0xFFFFFFFE }
                If (Local0 == @KIND_GARBAGE@) { XSTS = ARGU }
                If (Local0 == @KIND_SHORT@) { XLEN = ARGU }
                If (Local0 == @KIND_WRITE_IGNORED@) { XIGN = 0x01 }
                If (Local0 == @KIND_SLOW@) { XSLP = ARGU }
                If (Local0 == @KIND_LATE_ERROR@) { XEND = 0xFFFFFFFF }
                Return (0x01)
            }

            Method (FLTX, 2, Serialized) // class, location: look at every slot
            {
                XSTS = 0x00
                XEND = 0x00
                XLEN = 0x1000
                XSLP = 0x00
                XIGN = 0x00
                If (FTKN == 0x00) { Return (0x00) }
                Local0 = 0x00
                While (Local0 < @FAULTS_LENGTH@)
                {
                    If (DerefOf (FLTS [Local0]) != 0x00) { FLT1 (Local0, Arg0, Arg1) }
                    Local0 += 0x10
                }

                Return (0x01)
            }

            Method (FADD, 4, Serialized) // head, skip, count, argument: the slot taken, Ones where none is free
            {
                Local0 = 0x00
                While (Local0 < @FAULTS_LENGTH@)
                {
                    If (DerefOf (FLTS [Local0]) == 0x00)
                    {
                        FSET (Local0, Arg0, Arg1, Arg2, Arg3)
                        FTKN++
                        Return (Local0 >> 0x04)
                    }

                    Local0 += 0x10
                }

                Return (Ones)
            }

            Method (FSET, 5, Serialized) // offset of the slot, its four words
            {
                CreateDWordField (FLTS, Arg0, HEAD)
                CreateDWordField (FLTS, (Arg0 + 0x04), SKIP)
                CreateDWordField (FLTS, (Arg0 + 0x08), COUN)
                CreateDWordField (FLTS, (Arg0 + 0x0C), ARGU)
                HEAD = Arg1
                SKIP = Arg2
                COUN = Arg3
                ARGU = Arg4
            }

            // The calling interface, in place: 0 u16 class, 2 u16 select, 4 u32 in[4], 0x14 u32 out[4].
            // out[0] is the status: 0 done, -1 failed, -2 not supported.
            Method (WMBB, 3, Serialized) // instance, method, buffer
            {
                If (SizeOf (Arg2) < 0x24) { Return (Arg2) }
                CreateWordField (Arg2, 0x00, CLAS)
                CreateWordField (Arg2, 0x02, SELE)
                CreateDWordField (Arg2, 0x04, IN0)
                CreateDWordField (Arg2, 0x08, IN1)
                CreateDWordField (Arg2, 0x14, OUT0)
                CreateDWordField (Arg2, 0x18, OUT1)
                If (CLAS == @VENDOR_CLASS@) { Return (VEND (Arg2)) }
                If (CLAS == @PASSWORD_CLASS@) { Return (PSWD (Arg2)) }
                If ((CLAS > 0x01) || (SELE > 0x02))
                {
                    OUT0 = 0xFFFFFFFE
                    Return (Arg2)
                }

                If (CLAS == 0x00) { CRDS++ }
                Else { CWRS++ }

                FLTX (CLAS, IN0)

                // The interpreter cuts one sleep at two seconds.
                While (XSLP > 0x00)
                {
                    Local0 = XSLP
                    If (Local0 > 0x03E8) { Local0 = 0x03E8 }
                    Sleep (Local0)
                    XSLP = (XSLP - Local0)
                }

                If (XSTS != 0x00) { OUT0 = XSTS }
                ElseIf (ISLO (IN0) == 0x00) { OUT0 = 0xFFFFFFFF }
                // The third input would be a security key; this firmware never gives one out.
                ElseIf ((CLAS == 0x01) && (PWST == 0x01)) { OUT0 = 0xFFFFFFFF }
                ElseIf (CLAS == 0x00)
                {
                    OUT1 = NVRD (SELE, IN0)
                    OUT0 = XEND
                }
                Else
                {
                    If (XIGN == 0x00) { NVWR (SELE, IN0, IN1) }
                    OUT0 = XEND
                }

                If (XLEN < 0x1000) { Return (Mid (Arg2, 0x00, XLEN)) }
                Return (Arg2)
            }

            // The administrator password: select 0 and 3 say whether one is set, as tests::machine::password has it.
            Method (PSWD, 1, Serialized) // buffer
            {
                CreateWordField (Arg0, 0x02, SELE)
                CreateDWordField (Arg0, 0x14, OUT0)
                CreateDWordField (Arg0, 0x18, OUT1)
                Local0 = @PASSWORD_NONE@
                If (PWST == 0x01) { Local0 = @PASSWORD_SET@ }
                If (SELE == @PASSWORD_PROPERTIES@)
                {
                    OUT0 = 0x00
                    OUT1 = (@PASSWORD_FORM@ | Local0)
                }
                ElseIf (SELE == @PASSWORD_INSTALLED@) { OUT0 = Local0 }
                Else { OUT0 = 0xFFFFFFFE }
                Return (Arg0)
            }

            // The laptop's own calls; their numbers are those of tests::machine::vendor.
            Method (VEND, 1, Serialized) // buffer
            {
                CreateWordField (Arg0, 0x02, SELE)
                CreateDWordField (Arg0, 0x04, IN0)
                CreateDWordField (Arg0, 0x08, IN1)
                CreateDWordField (Arg0, 0x0C, IN2)
                CreateDWordField (Arg0, 0x10, IN3)
                CreateDWordField (Arg0, 0x14, OUT0)
                CreateDWordField (Arg0, 0x18, OUT1)
                CreateDWordField (Arg0, 0x1C, OUT2)
                CreateDWordField (Arg0, 0x20, OUT3)
                OUT0 = 0x00
                Switch (ToInteger (SELE))
                {
                    Case (@VENDOR_IDENTIFY@)
                    {
                        OUT1 = @VENDOR_MAGIC@
                        OUT2 = @VENDOR_VERSION@
                    }
                    Case (@VENDOR_FAULT_ADD@)
                    {
                        Local0 = FADD (IN0, IN1, IN2, IN3)
                        If (Local0 == Ones) { OUT0 = 0xFFFFFFFF }
                        Else { OUT1 = Local0 }
                    }
                    Case (@VENDOR_FAULT_CLEAR@)
                    {
                        Local0 = 0x00
                        While (Local0 < @FAULTS_LENGTH@)
                        {
                            FSET (Local0, 0x00, 0x00, 0x00, 0x00)
                            Local0 += 0x10
                        }

                        FTKN = 0x00
                    }
                    Case (@VENDOR_FAULT_GET@)
                    {
                        If ((IN0 >= (@FAULTS_LENGTH@ >> 0x04)) || (IN1 > 0x01)) { OUT0 = 0xFFFFFFFF }
                        Else
                        {
                            Local0 = ((IN0 << 0x04) + (IN1 << 0x02))
                            CreateDWordField (FLTS, Local0, WRD0)
                            CreateDWordField (FLTS, (Local0 + 0x04), WRD1)
                            CreateDWordField (FLTS, (Local0 + 0x08), WRD2)
                            OUT1 = WRD0
                            OUT2 = WRD1
                            OUT3 = WRD2
                        }
                    }
                    Case (@VENDOR_CALLS@)
                    {
                        OUT1 = CRDS
                        OUT2 = CWRS
                        OUT3 = CFLT
                    }
                    Case (@VENDOR_HEAT@)
                    {
                        LTCH = IN0
                        Notify (\_TZ.TZ00, 0x80)
                    }
                    Case (@VENDOR_TEMPERATURE@)
                    {
                        OUT1 = \_TZ.TZ00._TMP ()
                        OUT2 = LTCH
                    }
                    Case (@VENDOR_PEEK@)
                    {
                        If ((IN1 > 0x02) || (ISLO (IN0) == 0x00)) { OUT0 = 0xFFFFFFFF }
                        Else { OUT1 = NVRD (IN1, IN0) }
                    }
                    Case (@VENDOR_POKE@)
                    {
                        If ((IN1 > 0x02) || (ISLO (IN0) == 0x00)) { OUT0 = 0xFFFFFFFF }
                        Else { NVWR (IN1, IN0, IN2) }
                    }
                    Case (@VENDOR_PASSWORD@)
                    {
                        If (IN0 > 0x01) { OUT0 = 0xFFFFFFFF }
                        Else { PWST = IN0 }
                    }
                    Case (@VENDOR_DUMP@)
                    {
                        Local0 = (IN0 << 0x02)
                        If (Local0 >= SizeOf (NVRM)) { OUT0 = 0xFFFFFFFF }
                        Else
                        {
                            // What fits behind the outputs, in one piece: word by word it would take a thousand times as long.
                            Local1 = Mid (NVRM, Local0, 0x0FDC)
                            CreateField (Arg0, 0x0120, (SizeOf (Local1) << 0x03), BLCK)
                            BLCK = Local1
                            OUT1 = SizeOf (Local1)
                            OUT2 = @CELLS@
                            OUT3 = SizeOf (NVRM)
                        }
                    }
                    Default { OUT0 = 0xFFFFFFFE }
                }

                Return (Arg0)
            }
        }
    }

    Scope (\_TZ)
    {
        ThermalZone (TZ00)
        {
            Name (_STR, Unicode ("Virtual laptop"))
            Method (_TMP, 0, Serialized)
            {
                // Zero: nobody has written the latch. Ones: no pc-testdev.
                Local0 = \_SB.LTCH
                If ((Local0 == 0x00) || (Local0 == 0xFFFFFFFF)) { Return (@TEMPERATURE_DEFAULT@) }
                Return (Local0)
            }

            Name (_TZP, @TEMPERATURE_POLL@)
            Name (_CRT, @TEMPERATURE_CRITICAL@)
            Name (_HOT, @TEMPERATURE_HOT@)
            Name (_PSV, @TEMPERATURE_PASSIVE@)
            Name (_PSL, Package () { \_SB.CPUS.C000 })
            Name (_TC1, 0x02)
            Name (_TC2, 0x05)
            Name (_TSP, 0x0A)
            Name (_AC0, @TEMPERATURE_ACTIVE@)
            Name (_AL0, Package () { \_SB.FAN0 })
        }
    }
}
