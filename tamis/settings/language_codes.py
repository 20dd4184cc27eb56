"""Three-letter language codes (ISO 639-2, both forms where they differ) and the two letters of ISO 639-1."""

_PAIRS = """
afr:af amh:am ara:ar asm:as aze:az bel:be ben:bn bos:bs bre:br bul:bg cat:ca ces:cs cze:cs cym:cy
wel:cy dan:da deu:de ger:de dzo:dz ell:el gre:el eng:en epo:eo est:et eus:eu baq:eu fao:fo fas:fa
per:fa fin:fi fra:fr fre:fr gle:ga glg:gl guj:gu hat:ht heb:he hin:hi hrv:hr hun:hu hye:hy arm:hy
ind:id isl:is ice:is ita:it jav:jv jpn:ja kan:kn kat:ka geo:ka kaz:kk khm:km kin:rw kir:ky kor:ko
kur:ku lao:lo lat:la lav:lv lit:lt ltz:lb mal:ml mar:mr mkd:mk mac:mk mlg:mg mlt:mt mon:mn msa:ms
may:ms mya:my bur:my nep:ne nld:nl dut:nl nno:nn nob:nb nor:no oci:oc ori:or pan:pa pol:pl por:pt
pus:ps que:qu ron:ro rum:ro rus:ru sin:si slk:sk slo:sk slv:sl sme:se spa:es sqi:sq alb:sq srp:sr
swa:sw swe:sv tam:ta tel:te tgl:tl tha:th tur:tr uig:ug ukr:uk urd:ur vie:vi vol:vo wln:wa xho:xh
zho:zh chi:zh zul:zu
"""
SHORT: dict[str, str] = dict(pair.split(":") for pair in _PAIRS.split())
"""Two letters by three, of the languages that have both."""


def short_code(code: str) -> str:
    """The two letters of a language that has them ("eng": "en"), as the identifier names it."""
    return SHORT.get(code, code)
