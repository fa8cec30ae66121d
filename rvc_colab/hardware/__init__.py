"""Facts of the machine and the plan that follows from them, in words. Imports on a bare Python.

print(plan_training(facts(), 40000).in_words())
"""

from rvc_colab.hardware.machine import Facts, Gpu, cpu_cores, disk_free, facts, ram, refusals
from rvc_colab.hardware.plan import ConversionPlan, TrainingPlan, plan_conversion, plan_training

__all__ = [
    "ConversionPlan",
    "Facts",
    "Gpu",
    "TrainingPlan",
    "cpu_cores",
    "disk_free",
    "facts",
    "plan_conversion",
    "plan_training",
    "ram",
    "refusals",
]
