"""Settings of a run: what a TOML file, the command line and the form in the UI may say.

Frozen, closed to unknown keys, each number with its unit, bounds and reason. They travel as flow
parameters, so they live here and not beside the algorithms. One module per section of the file.
"""

from polymine.data_contracts.settings.base import Settings, Source
from polymine.data_contracts.settings.comparison import ArmSettings, ComparisonSettings
from polymine.data_contracts.settings.dataset import DatasetSettings, Reading
from polymine.data_contracts.settings.development import DevelopmentSettings
from polymine.data_contracts.settings.evaluation import (
    HELD_OUT,
    TRAINED,
    EvaluatedModel,
    EvaluatedRun,
    EvaluationSet,
    EvaluationSettings,
)
from polymine.data_contracts.settings.gap import GapSettings
from polymine.data_contracts.settings.loading import apply_override, check_as, load_as
from polymine.data_contracts.settings.mining import MiningSettings, TeacherSettings
from polymine.data_contracts.settings.models import EncoderSettings, ModelSettings
from polymine.data_contracts.settings.run import (
    ComparisonRunSettings,
    EngineSettings,
    EvaluationRunSettings,
    Format,
    GapRunSettings,
    ListFormat,
    OutputSettings,
    PipelineSettings,
    RunSettings,
    TrainingRunSettings,
    View,
)
from polymine.data_contracts.settings.selection import (
    PositiveSettings,
    RiskSettings,
    SelectionSettings,
    ValidationSettings,
)
from polymine.data_contracts.settings.steps import (
    BY_DEVELOPMENT,
    DATA_KINDS,
    MINED,
    AlignSettings,
    GuideModel,
    LoraSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
)
from polymine.data_contracts.settings.training import (
    AdaptedModel,
    PhaseSettings,
    RecipeSettings,
    TargetSettings,
    TrainingSettings,
)

__all__ = [
    "BY_DEVELOPMENT",
    "DATA_KINDS",
    "HELD_OUT",
    "MINED",
    "TRAINED",
    "AdaptedModel",
    "AlignSettings",
    "ArmSettings",
    "ComparisonRunSettings",
    "ComparisonSettings",
    "DatasetSettings",
    "DevelopmentSettings",
    "EncoderSettings",
    "EngineSettings",
    "EvaluatedModel",
    "EvaluatedRun",
    "EvaluationRunSettings",
    "EvaluationSet",
    "EvaluationSettings",
    "Format",
    "GapRunSettings",
    "GapSettings",
    "GuideModel",
    "ListFormat",
    "LoraSettings",
    "LossSettings",
    "MiningSettings",
    "ModelSettings",
    "OutputSettings",
    "PhaseSettings",
    "PipelineSettings",
    "PositiveSettings",
    "Reading",
    "RecipeSettings",
    "RiskSettings",
    "RunSettings",
    "ScheduleSettings",
    "SelectionSettings",
    "Settings",
    "Source",
    "StepSettings",
    "TargetSettings",
    "TeacherSettings",
    "TrainingData",
    "TrainingRunSettings",
    "TrainingSettings",
    "ValidationSettings",
    "View",
    "apply_override",
    "check_as",
    "load_as",
]
