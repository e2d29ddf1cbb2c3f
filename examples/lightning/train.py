"""Train one candidate with PyTorch Lightning: python train.py CANDIDATE_JSON OUT_DIR"""

import json
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from nas import data, spaces


class Classifier(lightning.LightningModule):
    def __init__(self, network, learning_rate):
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def training_step(self, batch, _):
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.network(x), y)
        self._log("train_loss", loss, len(x))
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self._log("val_accuracy", (self.network(x).argmax(1) == y).float().mean(), len(x))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _log(self, name, value, rows):
        """Per epoch, and against the epoch: batches differ in size from candidate to candidate."""
        self.log("step", float(self.current_epoch + 1), on_step=False, on_epoch=True)
        self.log(name, value, on_step=False, on_epoch=True, batch_size=rows)


def main(candidate, out_dir):
    lightning.seed_everything(candidate["seed"], verbose=False)
    dataset = data.load(**candidate["data"])
    choices = candidate["choices"]
    space = spaces.find_space(candidate["space"])
    network = spaces.build(space, choices, dataset.input_shape, dataset.outputs)
    trainer = lightning.Trainer(
        max_epochs=choices.get("epochs", candidate["train"]["epochs"]),
        logger=TensorBoardLogger(out_dir, name="tb", version=""),
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    batch_size = choices.get("batch_size", candidate["train"]["batch_size"])
    trainer.fit(
        Classifier(network, choices["learning_rate"]),
        DataLoader(_rows(dataset.x_train, dataset.y_train), batch_size, shuffle=True),
        DataLoader(_rows(dataset.x_val, dataset.y_val), 1000),
    )
    torch.save(network.state_dict(), out_dir / "weights.pt")
    metrics = {name: float(trainer.callback_metrics[name]) for name in ("val_accuracy", "train_loss")}
    (out_dir / "metrics.json").write_text(json.dumps(metrics))


def _rows(x, y):
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
