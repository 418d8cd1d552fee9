"""`medfinetune verify FOLDER [--key PUBLIC]`: whether a run's files are still what its lineage.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import Format, FormatOption, chosen, console, refusals, write_json
from medfinetune_cli.report import FolderArgument

KeyOption = Annotated[Path | None, typer.Option("--key", help="The site's public key, PEM: an unsigned run does not verify then.", show_default=False)]
WholeOption = Annotated[bool, typer.Option("--whole", help="A file of the run that is not there is missing: not for a part that was fetched.")]
SIGNED = {
    "unsigned": "unsigned: only the hash of lineage.json below, kept elsewhere, shows whether it is the same",
    "signed, no key given to check it": "signed, and not checked: give the site's public key by --key",
    "holds": "the signature holds: signed by the key that was given",
    "does not hold": "the signature does not hold",
}


def verify(context: typer.Context, folder: FolderArgument, key: KeyOption = None, whole: WholeOption = False, output: FormatOption = None) -> None:
    """Compare every file of a run with the hashes in its lineage.json, offline.

    One line names each file that is missing, changed, or none of the run's, and
    each attempt that was removed or edited; the exit code is then 68. What the
    purge has removed is not missing, and of a part that was fetched it says what
    could not be checked; with --whole that is missing too. With --key the signature must be there and hold; without
    one the hash of lineage.json is printed, to be kept where the run's owner
    cannot write. Needs no GPU and not the extra `trainer`.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool

        answer = ask_tool("verify", folder, *(["--key", str(key)] if key else []), *(["--whole"] if whole else []))
        _tell(answer, form)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any], form: Format) -> None:
    if form is Format.JSON:
        write_json(answer)
        return
    out = console("stderr")
    for problem in answer["problems"]:
        out.print(f"{problem['where']}: {problem['found']}; expected {problem['expected']}", soft_wrap=True)
    if answer["problems"]:
        if "signature" in answer:
            out.print(SIGNED[answer["signature"]], soft_wrap=True)
        out.print(f"does not verify ({len(answer['problems'])} of its files). {answer['problems'][0]['remedy']}", soft_wrap=True)
        return
    out = console("stdout")
    missing = len(answer["notChecked"])
    out.print(f"verified{' in part' if missing else ''}  {answer['held']} files are as evaluate left them", soft_wrap=True)
    out.print(f"  {SIGNED[answer['signature']]}", soft_wrap=True)
    requester = answer["requester"]
    bound = "each bound to the one before" if answer["attemptsChecked"] else "as lineage.json counts them; attempts.jsonl is not here"
    out.print(f"  {answer['attempts']} attempts, {bound}; asked for by {requester['name']}, {_proved(requester)}", soft_wrap=True)
    for what, verdict in answer["verdicts"].items():
        out.print(f"  {what}: {verdict}", soft_wrap=True)
    for path in answer["notChecked"]:
        out.print(f"  not here, not checked: {path}", soft_wrap=True)
    if answer["notYetPurged"]:
        out.print(f"  {len(answer['notYetPurged'])} files that the purge removes are still here", soft_wrap=True)
    says = "SHA-256 of what it says" if answer["planChecked"] else "not here; as lineage.json has it"
    out.print(f"  plan.json, {says}: {answer['planSha256']}", soft_wrap=True)
    out.print(f"  lineage.json, SHA-256: {answer['lineageSha256']}", soft_wrap=True)


def _proved(requester: dict[str, Any]) -> str:
    return "as an admission policy proved" if requester["verified"] else "unverified"
