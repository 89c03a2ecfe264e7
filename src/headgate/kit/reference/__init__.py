"""Reference pages made from the code, so that they cannot say anything else.

settings_page([("Control plane", ControlPlaneSettings)])    # every setting of products
kit_settings_page()                                         # every knob of the kit, and what is refused of it
added_settings_page("Settings of the shop", "...", ShopSettings)    # what a product adds to those
controls_page()                                             # the controls in their order
errors_page(Path("src/headgate"))                           # every code there is
"""

from headgate.kit.reference.controls import controls_page, listed
from headgate.kit.reference.errors import CodeUse, codes_in, errors_page, fault_kinds
from headgate.kit.reference.metrics import metrics_page, registry_of_kit
from headgate.kit.reference.settings import added_settings_page, kit_settings_page, settings_page

__all__ = [
    "CodeUse",
    "added_settings_page",
    "codes_in",
    "controls_page",
    "errors_page",
    "fault_kinds",
    "kit_settings_page",
    "listed",
    "metrics_page",
    "registry_of_kit",
    "settings_page",
]
