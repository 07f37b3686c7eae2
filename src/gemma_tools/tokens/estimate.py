"""Estimates the tokens of a text from its pairs of neighbours: how often a token begins between the two.

The pairs are of classes of UTF-8 bytes: each small letter is a class, all capitals are one, and so are digits, kinds of
punctuation, the first bytes of multi-byte characters, and the bytes after them, two by two. `training/fit_estimate.py` makes
the table.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from operator import mul
from typing import Final

CONTROL: Final = "\0"
"""A placeholder for a special token, which is not counted."""
_KINDS: Final = ("_", "-", ".", ",", "/", "\"'`", "()[]{}<>", ":;", "=+*|#&%$@!?\\^~")
OTHER: Final = 32 + len(_KINDS)
"""All bytes of non-ASCII characters next to an ASCII one."""


def _classes() -> bytes:
    classes = [0] * 256
    for number in range(26):
        classes[ord("a") + number], classes[ord("A") + number] = 1 + number, 27
    for digit in b"0123456789":
        classes[digit] = 28
    classes[ord(" ")], classes[ord("\n")], classes[ord("\t")] = 29, 30, 31
    for number, kind in enumerate(_KINDS):
        for sign in kind.encode():
            classes[sign] = 32 + number
    for byte in range(0x80, 0xC0):
        classes[byte] = 0x80 + (byte - 0x80) // 2
    for byte in range(0xC0, 0x100):
        classes[byte] = byte
    return bytes(classes)


_CLASSES: Final = _classes()
DIGITS: Final = "".join(sign for sign in map(chr, range(ord("!"), ord("~") + 1)) if sign not in '"\\')
STEP: Final = 0.035
LEAST: Final = -0.9
"""A digit of the tables is this many steps above this."""


def pairs_of(text: str) -> Counter[int]:
    """How often each pair of classes occurs in `text`, as two-byte numbers in this machine's byte order."""
    classes = f"{CONTROL}{text}{CONTROL}".encode("utf-8", "replace").translate(_CLASSES)
    view, even = memoryview(classes), len(classes) // 2 * 2
    pairs = Counter(view[:even].cast("H"))
    pairs.update(view[1 : len(classes) - (even == len(classes))].cast("H"))
    return pairs


def place(pair: int) -> tuple[str, int, int] | None:
    """The position of a pair's number: the table, the row and the column; None for a pair that costs nothing."""
    first, second = pair.to_bytes(2, sys.byteorder)
    if first >= 0xC0 and 0x80 <= second < 0xC0:
        return "characters", first, second - 0x80
    if first >= 0x80 and second >= 0x80:
        return ("inside", 0, int(second >= 0xC0))
    if not first and not second:
        return None
    return "signs", min(first, OTHER), min(second, OTHER)


def estimate(text: str) -> float:
    """An estimate of the tokens of `text`, without the special tokens that `CONTROL` replaces."""
    pairs = pairs_of(text)
    return math.fsum(map(mul, pairs.values(), map(_FIGURES.__getitem__, pairs)))


_RARE: Final = "D" * 32
"""The row of a first byte that the fitted texts did not have, such as those of combining marks: the usual values of others."""


class _Figures(dict[int, float]):
    """The number of each pair, looked up once."""

    def __missing__(self, pair: int) -> float:
        found = place(pair)
        if found is None:
            return self.setdefault(pair, 0.0)
        table, row, column = found
        return self.setdefault(pair, LEAST + STEP * DIGITS.index(_TABLES[table].get(row, _RARE)[column]))


_TABLES: Final[dict[str, dict[int, str]]] = {
    "signs": {
        0: "CO?VH04C7`CWPG;CSAOIDND6?EFM*C@C@LDL@O0RHY",
        1: "MMG6:nII;F>@?F>SI_:>C3CJKGRSUGUCLFP9PIJ`d>",
        2: "XKACM:DFT<2C+PMASDJEA>>bCCFL^>=CCWOK?JQOA^",
        3: "6ECC?<KCHH0@<C;8RDAL4>DGCOKBXNBCMKUAEDFKJQ",
        4: "9:5Cg>HBo>FUN6NBUCONDAW]GL'8a;[BPK@)@niEQS",
        5: "GL29>U7EREC[D:?F=D>;KLCC:C[JSHP>QXUPMIGGOF",
        6: "8LHGFBD?D=4A>ER6CD=F)@ADCOCNQB=DfGHTAIHQC=",
        7: "7H`HH>57-PWEAF@ONAAW[BNCD<EMGB:CKME<GV>I7R",
        8: "LEDJB8@E;CC!1C>JAO6J?W[BCXHGLJYCMADWANZHD5",
        9: "I?H1?<?AC[@WDJ@7=,JB@`@NR_RM>KQC@aX`EPM8o7",
        10: "==CM[DFEGKRD;OQNECIK@BCGCHLMI`JCLBBNCCCECC",
        11: "DCOFGEJI/HSEKENP]DKA=ZAKC4GJJ8FCDEG;D=PZ=G",
        12: ";@ADA=HUC>G0;^0D<0GBBE5RDXHDFEOCRV<DSW>d!S",
        13: "Y;:SZ2<PW<LL>C`A?JN9QANICC<RF?QCNTYH]=HV1S",
        14: "<CW;>CMA7GVQMQTA97/DAEJRGQ$9TFKCJRFSZfUI:<",
        15: "AR@=D^5GBIJBEG9:8]8@B;C2CJ?@EBGCGRS]FYYIMS",
        16: "I@CCAJJC@KBME4J=?F>;CFE[BKKFS>QCKIXSCUCBB]",
        17: "BkDCRCDFETCFMFCTEECGJ,CCCWCPNVCCCCJ@DKYCID",
        18: "P>hMD?E2IBLD;O>=HGM?C;N4FBdGLFTCEQCF>GO4NN",
        19: ";TIF6@8I>9FIJVDN>cj>>:I;DO2FCBVCQX:NTPKGPG",
        20: "CA?@F<:Q96L7@KFDHG?9=GECS:IDJ?QCVTBZPXMJ^<",
        21: "O@EL9B+O?FS65I@@=a@F9LCD>DLRJJ^CCJTPCGCBFM",
        22: "<LGFM;CB>ICKDE$;DCN[HHMDCOCU`VYCFDTGOGDHDB",
        23: "LG>DFXDGCOKE=ECBDDX6IjDUDRIPGDICIA@=?GDHGL",
        24: ":XD?BKECBADGJFEAGCCS@OB9?DCLJCFCHITDEDKJM;",
        25: "2;U.NRc>ZNN>NPTK=CRI2VJFCFCGI6KCIQ6:DKVW?H",
        26: "D?=*KBCH_CEZIV;K5FI>W3ATC/4PJ7HCDE=CCKKPRL",
        27: "UGKAZCC59DRWNK;>SZ=TMHO]MAIEpJO>N^C4HKSMc_",
        28: "[YTUTmIFHEHHFFDDIEFFZMFEKJI~WKQCKTYbLP[3Za",
        29: "DNE;>GSLJGRHHHLO?M@?ICF;R??C`<`CIB>HFGI;IF",
        30: "GG;P^FQOCRHEXKUNIIJEPM[YOOJ[Va>VDNHJMUNHT_",
        31: "CCCCCCCCCCCCC@CCCCCCBCCCCCCACDCN@CCCDPCFGC",
        32: "GOVWUOEMEFDMRLXYMBRJZA:BCGD[?;EC=CIECBBBCC",
        33: "DYRMQUPLJEOIOE]OYCHK]=NDCDJEdLJFCBCBGDICNf",
        34: "OEBMGOFNPOCCCGD^VCZPRCJJCDCP_MYC<C=EG9FCU!",
        35: ">BLFLSHHADEB@LKK@L:H4BBCDFPMaQ`CBDCIBJRCCd",
        36: "AQQSGK9DCRNHHIBMHNAMBLCICBCBMECCMHDCK?PBDQ",
        37: "GVNFINPL_WIGWLVGRMHKLDIBLHINIMVCH>JDDBKAWK",
        38: "ZQRIMHTABRIEKQ`IHKWYFEQAWM@UKN^AJCEABA=EEZ",
        39: "TBAXC?DCEFCLCLLCTK<O^FBBCCCN[NhHCCDCFJI.L8",
        40: "@QFHjS@GGQFCH?ZEFFSaNDVGDEBEJNJAIGHASFNHDD",
        41: "H=M,GIJLHPPLAS8DFW?KDGPMEIAINH]DCiVSKQVNRC",
    },
    "characters": {
        0xC2: "DDDDDDDDDDDDDDDDcDDDCCGDCCDOD6F<",
        0xC3: "LD<82J@DENIB=L=/91HL>PHRZFJ=IV>I",
        0xC4: "I?:KEE@J!MDV3>G&KGDVXMDa4DFGGGNZ",
        0xC5: "OIKGhDED;DSI;RRDHEQD?`A>HLDDD_9;",
        0xC6: "DDDDDGDRDDDDcDDDADDDDDDD>FDDDDDD",
        0xC7: "DDDDDDDDDDDDDDDDDDDDDEDDDDDDJDDD",
        0xC8: "DDDDDDDDDDDDU?DDDDDDDDDDDDDDDDDD",
        0xC9: "DDDDDDDDDED_JDDDDHDDDDDDDDDDDDDD",
        0xCA: "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDOjD",
        0xCB: "DDDGDDDDDDDDDDDDDDDDDDDDDDDDDDDD",
        0xCC: "XYDHPDDDDDDDDDDDDNDDDDDDDDDDDDDD",
        0xCE: "DDDBBDDGQEICH>0@FEAFAD4,;JCA9;96",
        0xCF: "J;+CJD8=DDDDDDDDDDDDDDDDDDDDDDDD",
        0xD0: "E;DGUDDDG9<,J6;74hZQ4X=ND0859;52",
        0xD1: "03E?J7@*iY,RStQ[DDDDDDDDDDDDDDDD",
        0xD2: "DDDDDDDDCMDKDODDDDDDDDDtGqDSD>DD",
        0xD3: "DDDDDDDDDDwDWDDDDZDDEDDSDDRDDDDD",
        0xD4: "DDDDDDDDDDDDDDDDDDDDDDDDAOOEADBE",
        0xD5: "?DBDICEEFDNEDDEO<R9HB>OG>G;=6:DL",
        0xD6: "B=EKMDDDDDDDDDDDDDDDDDDDDDDDDDDD",
        0xD7: "DDDDDDDDCB:G?N568EYH7:DDDEDDDDDD",
        0xD8: "DDDDDDWDDDDDDDDN1=!5656A1@<DELDD",
        0xD9: "GE32BAD??JVDDDDDDDDDDCDDKDDDRDDK",
        0xDA: "HD94BDDDDJDEDHDDDDDD*FP@DDMDD9DK",
        0xDB: ".DDblG7YW:TDDDDDDDDDDDDDI7GHCDDD",
        0xE0: "DDDDDDDDDDDDDDDDDD98B<D9==;@;BEJ",
        0xE1: ">=DDFFPDDDDDDDD?DDDDDDDDDDEDn?eP",
        0xE2: "QOD<<DDDDDCFD45DDDDDDDDDDDDDDDDD",
        0xE3: "A;DDDDDDDDDDDDDDDDDDDDDDDDDDDDDD",
        0xE4: "DDDDDDDDDDDDDDDDDDDDDDDDDDDDGKBF",
        0xE5: "DHFAC=BEJTBE@HHF:H;=DD(;GDGKGAO=",
        0xE6: "8>EIEIQIB<@81U4;NAPE<DMF3ND@>CEE",
        0xE7: "DKFD=BE17D=FDL>I0HFLH?=8[?1GD;EA",
        0xE8: "X/D[HEEGECGDGFDDFTFI@QB0BOW@EOGA",
        0xE9: "D:LFMGCDGHJA-XIBEDDADADDDDDDDDGD",
        0xEA: "DDDDDDDDDDDDDDDDDDDDDDDD?HKHADCD",
        0xEB: "E<GEH4BT>AEANDOC@AAKGAJEOHKJEDDD",
        0xEC: "D@6E?4EDDCFF>DC?<WLFDEDDGLEFE<ND",
        0xED: ">LBGDK=ADD9NIIDDDDDDDDDDDDDDDDDD",
        0xEF: "DDDDDDDDDDDDDDDDDDDDDDDDDDDHQDTD",
        0xF0: "DDDDDDDDDDDDDDDOEDDDDDDDDDDDDDDD",
    },
    "inside": {
        0: ":F",
    },
}
"""The numbers, by table and row. Made by `training/fit_estimate.py`."""

_FIGURES: Final = _Figures()
