"""Where settings come from, which may override which, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from kubeez_mcp_local.cli.doctor import wide_folders
from kubeez_mcp_local.disk import is_system_folder
from kubeez_mcp_local.settings import (
    DEFAULT_BASE_URL,
    DEFAULT_MCP_URL,
    Mode,
    Settings,
    SettingsError,
    config_file,
    load_settings,
    read_config,
    variable,
    write_config,
)

KEY = "sk_live_example"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def test_without_a_key_everything_runs_in_the_sandbox(folder: Path) -> None:
    settings = load_settings(environ={}, working_dir=folder)
    assert settings.effective_mode is Mode.SANDBOX
    assert settings.asks_above == float("inf")


def test_a_key_makes_it_live_and_every_price_is_asked_about(folder: Path) -> None:
    settings = load_settings(environ={"KUBEEZ_API_KEY": KEY}, working_dir=folder)
    assert settings.effective_mode is Mode.LIVE
    assert settings.asks_above == 0


def test_flags_win_over_the_environment_and_the_environment_over_the_config_file(folder: Path) -> None:
    own = folder / "own.env"
    own.write_text("KUBEEZ_LOG_LEVEL=error\nKUBEEZ_MAX_CREDITS_PER_DAY=10\nKUBEEZ_MAX_CREDITS_PER_CALL=1\n")
    settings = load_settings(
        {"log_level": "debug"},
        environ={"KUBEEZ_LOG_LEVEL": "info", "KUBEEZ_MAX_CREDITS_PER_DAY": "20"},
        env_file=own,
        working_dir=folder,
    )
    assert (settings.log_level, settings.max_credits_per_day, settings.max_credits_per_call) == ("debug", 20, 1)


def test_the_users_own_config_file_is_read_without_being_named(folder: Path) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(f"KUBEEZ_API_KEY={KEY}\n")
    settings = load_settings(environ={}, working_dir=folder)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY


def test_a_projects_dotenv_may_supply_the_key_and_nothing_else(folder: Path) -> None:
    (folder / ".env").write_text(
        f"KUBEEZ_API_KEY={KEY}\nKUBEEZ_BASE_URL=https://evil.example\nKUBEEZ_MAX_CREDITS_PER_DAY=999999\n"
        f"KUBEEZ_OUTPUT_DIR=/tmp/elsewhere\nKUBEEZ_ASK_ABOVE=100000\n"
    )
    settings = load_settings(environ={}, working_dir=folder)
    assert settings.api_key is not None
    assert settings.base_url == DEFAULT_BASE_URL
    assert settings.max_credits_per_day == 2000
    assert settings.ask_above is None
    assert settings.output_dir.name == "Kubeez"


@pytest.mark.parametrize("url", ["http://api.example.com", "http://10.0.0.1:8000"])
def test_a_key_is_never_sent_unencrypted_to_another_machine(folder: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        load_settings(environ={"KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": url}, working_dir=folder)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8787", "http://localhost:8787", "https://proxy.example.com"])
def test_loopback_and_https_origins_are_fine_with_a_key(folder: Path, url: str) -> None:
    assert load_settings(environ={"KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": url}, working_dir=folder).base_url == url


def test_a_lookalike_of_loopback_is_not_loopback(folder: Path) -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        load_settings(
            environ={"KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": "http://127.0.0.1.example.com"}, working_dir=folder
        )


@pytest.mark.parametrize(
    "text",
    ["${KUBEEZ_API_KEY}", "${env:KUBEEZ_API_KEY}", "${{ secrets.KEY }}", "$KUBEEZ_API_KEY", "%KUBEEZ_API_KEY%"],
)
def test_template_text_that_a_launcher_did_not_fill_in_is_explained(folder: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="did not fill it in"):
        load_settings(environ={"KUBEEZ_API_KEY": text}, working_dir=folder)


def test_a_run_of_a_recipe_may_cost_what_one_call_may_unless_the_setting_says_otherwise(folder: Path) -> None:
    call = {"KUBEEZ_MAX_CREDITS_PER_CALL": "30"}
    assert load_settings(environ=call, working_dir=folder).run_ceiling == 30
    for run, ceiling in (("200", 200), ("0", 0), ("", 30)):
        given = call | {"KUBEEZ_MAX_CREDITS_PER_RUN": run}
        assert load_settings(environ=given, working_dir=folder).run_ceiling == ceiling


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KUBEEZ_MAX_CREDITS_PER_DAY", "-1", "greater than or equal to 0"),
        ("KUBEEZ_MAX_CREDITS_PER_CALL", "plenty", "valid number"),
        ("KUBEEZ_MAX_CREDITS_PER_CALL", "nan", "finite"),
        ("KUBEEZ_MAX_CREDITS_PER_RUN", "-1", "greater than or equal to 0"),
        ("KUBEEZ_ASK_ABOVE", "inf", "finite"),
        ("KUBEEZ_MAX_CREDITS_PER_DAY", "1e308", "less than or equal to 1000000000"),
        ("KUBEEZ_MODE", "dry-run", "live"),
        ("KUBEEZ_TOOLSETS", "core,everything", "everything"),
        ("KUBEEZ_BASE_URL", "ftp://x", "http"),
        ("KUBEEZ_BASE_URL", "https://user:pw@api.example.com", "user name"),
        ("KUBEEZ_BASE_URL", "https://api.example.com:https", "Port"),
        ("KUBEEZ_BASE_URL", "https://api.example.com/v1/", "before /v1"),
        ("KUBEEZ_READ_ONLY", "perhaps", "boolean"),
        ("KUBEEZ_OUTPUT_DIR", "~nobody-of-this-name/x", "home folder"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_source_and_what_is_allowed(
    folder: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={name: value}, working_dir=folder)
    text = str(caught.value)
    assert name in text
    assert "the environment" in text
    assert said in text


def test_a_bad_key_is_refused_without_repeating_it(folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"KUBEEZ_API_KEY": "sk_live_secret part"}, working_dir=folder)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://user:hunter2@api.example.com", "https://api.example.com/?key=hunter2"])
def test_a_secret_in_an_address_is_not_repeated(folder: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="must not carry") as caught:
        load_settings(environ={"KUBEEZ_BASE_URL": url}, working_dir=folder)
    assert "hunter2" not in str(caught.value)


def test_choices_may_be_written_in_capitals(folder: Path) -> None:
    settings = load_settings(environ={"KUBEEZ_MODE": "Sandbox", "KUBEEZ_LOG_LEVEL": "DEBUG"}, working_dir=folder)
    assert (settings.mode, settings.log_level) == ("sandbox", "debug")


def test_live_mode_without_a_key_says_where_to_get_one(folder: Path) -> None:
    with pytest.raises(SettingsError, match="settings/api-keys"):
        load_settings(environ={"KUBEEZ_MODE": "live"}, working_dir=folder)


def test_the_key_does_not_show_in_the_settings(folder: Path) -> None:
    settings = load_settings(environ={"KUBEEZ_API_KEY": KEY}, working_dir=folder)
    assert KEY not in repr(settings)
    assert KEY not in settings.model_dump_json()


def test_sandbox_mode_at_a_loopback_origin_means_a_standalone_sandbox(folder: Path) -> None:
    environ = {"KUBEEZ_MODE": "sandbox", "KUBEEZ_BASE_URL": "http://127.0.0.1:8787"}
    assert load_settings(environ=environ, working_dir=folder).standalone_sandbox == "http://127.0.0.1:8787"


def test_folders_are_split_as_the_system_splits_paths(folder: Path) -> None:
    environ = {"KUBEEZ_INPUT_DIRS": os.pathsep.join([str(folder), str(folder / "b")])}
    assert load_settings(environ=environ, working_dir=folder).input_dirs == (folder, folder / "b")


def test_a_missing_env_file_is_an_error(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--env-file"):
        load_settings(environ={}, env_file=folder / "none.env", working_dir=folder)


def test_empty_values_count_as_not_given(folder: Path) -> None:
    settings = load_settings(environ={"KUBEEZ_API_KEY": "", "KUBEEZ_BASE_URL": ""}, working_dir=folder)
    assert settings.base_url == DEFAULT_BASE_URL
    assert settings.effective_mode is Mode.SANDBOX


@pytest.mark.parametrize(
    "value",
    [f'"{KEY}"', f"'{KEY}'", f" {KEY}\n", f"KUBEEZ_API_KEY={KEY}", f"export kubeez_api_key = '{KEY}'", f'"{KEY}" '],
)
def test_what_a_launcher_leaves_around_a_value_is_taken_off(folder: Path, value: str) -> None:
    settings = load_settings(environ={"KUBEEZ_API_KEY": value}, working_dir=folder)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY


@pytest.mark.parametrize("value", ['""', "''", " ", "KUBEEZ_MAX_CREDITS_PER_CALL=", '" "'])
def test_a_value_with_nothing_in_it_is_not_given(folder: Path, value: str) -> None:
    assert load_settings(environ={"KUBEEZ_MAX_CREDITS_PER_CALL": value}, working_dir=folder).max_credits_per_call == 500


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"C:\new\table"', r"C:\new\table"),
        (r'"C:\\new\\table"', r"C:\new\table"),
        (r"'C:\new\table'", r"C:\new\table"),
        (r"C:\new\table", r"C:\new\table"),
        (r'"\\server\share\Kubeez"  # ours', r"\\server\share\Kubeez"),
        (r'"\\\\server\\share"', r"\\server\share"),
        (r'"plain folder"', "plain folder"),
    ],
)
def test_a_windows_path_in_the_config_file_means_what_it_looks_like(folder: Path, written: str, meant: str) -> None:
    (file := folder / "config.env").write_text(f"KUBEEZ_OUTPUT_DIR={written}\nKUBEEZ_READ_ONLY=true\n")
    assert read_config(file) == {"KUBEEZ_OUTPUT_DIR": meant, "KUBEEZ_READ_ONLY": "true"}


@pytest.mark.skipif(os.name == "nt", reason="there it is a path")
@pytest.mark.parametrize("name", ["KUBEEZ_OUTPUT_DIR", "KUBEEZ_STATE_DIR", "KUBEEZ_LOG_FILE"])
@pytest.mark.parametrize("written", ["C:\\pictures", "c:/pictures", "\\\\server\\share"])
def test_a_windows_path_makes_no_odd_folder_on_another_system(folder: Path, name: str, written: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.* is a Windows path"):
        load_settings(environ={name: written}, working_dir=folder)


def test_names_in_the_config_file_may_be_written_small_and_behind_a_byte_order_mark(folder: Path) -> None:
    (file := folder / "config.env").write_text(f"kubeez_api_key={KEY}\nother=1\nexport Kubeez_Mode=live", "utf-8-sig")
    settings = load_settings(environ={}, env_file=file, working_dir=folder)
    assert settings.effective_mode is Mode.LIVE


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'{{"KUBEEZ_API_KEY": "{KEY}"}}', 1),
        (f'{{\n  "api_key": "{KEY}"\n}}', 2),
        (f"KUBEEZ_API_KEY: {KEY}", 1),
        (f"# mine\nkubeez:\n  api_key: {KEY}", 3),
        (f"KUBEEZ_MODE=live\nKUBEEZ_API_KEY {KEY}", 2),
        (f"api_key={KEY}", 1),
        ('KUBEEZ_OUTPUT_DIR="C:\\Users\\me\\"\n', 1),
    ],
)
def test_a_config_file_that_sets_nothing_is_explained(folder: Path, text: str, line: int) -> None:
    (file := folder / "config.env").write_text(text)
    with pytest.raises(SettingsError, match=f"Line {line} of .* is no setting") as caught:
        load_settings(environ={}, env_file=file, working_dir=folder)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "dangling", "loop", "pipe"])
def test_a_config_file_that_is_none_is_explained_and_never_means_sandbox(folder: Path, kind: str) -> None:
    (file := config_file()).parent.mkdir(parents=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(file)
    else:
        file.symlink_to(file if kind == "loop" else folder / "on a disk that is not there")
    with pytest.raises(SettingsError, match=r"config\.env (cannot be read|is a link to nothing)"):
        load_settings(environ={}, working_dir=folder)
    with pytest.raises(SettingsError, match=r"config\.env (cannot be read|is a link to nothing)"):
        write_config(file, {"KUBEEZ_API_KEY": KEY})


def test_what_else_a_config_file_says_stays_as_it_is(folder: Path) -> None:
    text = "# mine\n\nOTHER='a\nKUBEEZ_MODE=no'  # two lines\n\n\n  kubeez_mode=live\n\n# last\nFOO"
    for end in ("\n", "\r\n"):
        (file := folder / "config.env").write_bytes(text.replace("\n", end).encode())
        write_config(file, {"KUBEEZ_MODE": "sandbox", "KUBEEZ_LOG_LEVEL": "info"})
        changed = text.replace("  kubeez_mode=live", "KUBEEZ_MODE=sandbox") + "\nKUBEEZ_LOG_LEVEL=info\n"
        assert file.read_bytes() == changed.replace("\n", end).encode()
        write_config(file, {"KUBEEZ_MODE": None, "KUBEEZ_LOG_LEVEL": None})
        assert file.read_bytes() == text.replace("  kubeez_mode=live\n", "").replace("\n", end).encode() + end.encode()


def test_a_config_file_may_be_written_by_powershell(folder: Path) -> None:
    (file := folder / "config.env").write_text(f"KUBEEZ_API_KEY={KEY}\n", "utf-16")
    assert read_config(file) == {"KUBEEZ_API_KEY": KEY}


def test_whatever_a_projects_dotenv_is_it_keeps_nobody_from_working(folder: Path) -> None:
    dotenv = folder / ".env"
    dotenv.write_bytes(b"# caf\xe9\nKUBEEZ_API_KEY=" + KEY.encode())
    found = load_settings(environ={}, working_dir=folder).api_key
    assert found is not None
    assert found.get_secret_value() == KEY
    dotenv.unlink()
    dotenv.mkdir()
    assert load_settings(environ={}, working_dir=folder).effective_mode is Mode.SANDBOX


def test_a_dotenv_that_cannot_be_read_matters_only_where_no_nearer_key_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("KUBEEZ_API_KEY=other")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SettingsError, match=r"\.env cannot be read: Permission denied"):
        load_settings(environ={}, working_dir=folder)
    for nearer in ({"KUBEEZ_API_KEY": KEY}, {"KUBEEZ_LOGIN": f"live-0123456789abcdef@{DEFAULT_BASE_URL}"}):
        assert load_settings(environ=nearer, working_dir=folder).effective_mode is Mode.LIVE


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "OTHER=1\nDEBUG\n", "KUBEEZ_MODE=sandbox\nsome words\nX: 1"])
def test_a_file_of_several_programs_is_none_of_our_business_beyond_our_settings(folder: Path, text: str) -> None:
    (file := folder / ".env.shared").write_text(text)
    assert load_settings(environ={}, env_file=file, working_dir=folder).effective_mode is Mode.SANDBOX


def test_without_a_working_folder_there_are_still_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    folder.rmdir()
    settings = load_settings(environ={"KUBEEZ_API_KEY": KEY})
    assert settings.input_dirs == (Path.home(),)
    with pytest.raises(SettingsError, match="working folder, which is gone"):
        load_settings(environ={"KUBEEZ_OUTPUT_DIR": "out"})


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert variable("api_key") == "KUBEEZ_API_KEY"


def test_a_key_typed_between_the_brackets_of_a_placeholder_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="still holds a placeholder") as refusal:
        load_settings(environ={"KUBEEZ_API_KEY": "<sk_live_example>"})
    assert "sk_live" not in str(refusal.value)


def test_a_key_pasted_into_another_setting_is_never_repeated(folder: Path) -> None:
    pasted = ("{}", "https://{}.example", "x,{}", "/tmp/{}/y", "SK_LIVE_{}")
    for name in Settings.model_fields:
        for shape in pasted if name != "api_key" else ():
            value = shape.format("sk_live_Secret_1-2")
            with pytest.raises(SettingsError, match="KUBEEZ_API_KEY") as refusal:
                load_settings(environ={variable(name): value}, working_dir=folder)
            assert "secret" not in f"{refusal.value}{refusal.value.message}".lower()
            assert variable(name) in refusal.value.message
    with pytest.raises(SettingsError) as refusal:
        load_settings(environ={}, env_file=folder / "sk_live_Secret", working_dir=folder)
    assert "Secret" not in str(refusal.value)


TOKEN = "a-token.of~no/known+form=="
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"
SIGNED_IN = f"hosted-0123456789abcdef@{DEFAULT_MCP_URL}"


@pytest.mark.parametrize(
    ("environ", "mode", "rest", "hosted"),
    [
        ({}, Mode.SANDBOX, True, None),
        ({"KUBEEZ_API_KEY": KEY}, Mode.LIVE, True, None),
        ({"KUBEEZ_MCP_TOKEN": TOKEN}, Mode.LIVE, False, "token"),
        ({"KUBEEZ_HOSTED_LOGIN": SIGNED_IN}, Mode.LIVE, False, "sign-in"),
        ({"KUBEEZ_HOSTED_LOGIN": SIGNED_IN, "KUBEEZ_MODE": "live"}, Mode.LIVE, False, "sign-in"),
        ({"KUBEEZ_API_KEY": KEY, "KUBEEZ_HOSTED_LOGIN": SIGNED_IN}, Mode.LIVE, True, "sign-in"),
        ({"KUBEEZ_MCP_TOKEN": TOKEN, "KUBEEZ_HOSTED_LOGIN": SIGNED_IN}, Mode.LIVE, False, "token"),
        ({"KUBEEZ_MCP_TOKEN": TOKEN, "KUBEEZ_MODE": "sandbox"}, Mode.SANDBOX, True, None),
        (
            {"KUBEEZ_MCP_TOKEN": TOKEN, "KUBEEZ_MODE": "sandbox", "KUBEEZ_MCP_URL": "http://127.0.0.1:8788/mcp/"},
            Mode.SANDBOX,
            True,
            "token",
        ),
        (
            {"KUBEEZ_HOSTED_LOGIN": SIGNED_IN, "KUBEEZ_MODE": "sandbox", "KUBEEZ_MCP_URL": "http://[::1]:8788/mcp"},
            Mode.SANDBOX,
            True,
            None,
        ),
    ],
)
def test_which_doors_are_open(
    folder: Path, environ: dict[str, str], mode: Mode, rest: bool, hosted: str | None
) -> None:
    settings = load_settings(environ=environ, working_dir=folder)
    assert (settings.effective_mode, settings.rest_door, settings.hosted_door) == (mode, rest, hosted)


@pytest.mark.parametrize(
    "around", ["{}", " {}\n", '"{}"', "KUBEEZ_MCP_TOKEN='{}'", "Bearer {}", "authorization: bearer {}"]
)
def test_what_stands_around_a_token_is_taken_off(folder: Path, around: str) -> None:
    settings = load_settings(environ={"KUBEEZ_MCP_TOKEN": around.format(TOKEN)}, working_dir=folder)
    assert settings.mcp_token is not None
    assert settings.mcp_token.get_secret_value() == TOKEN
    assert TOKEN not in f"{settings!r}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KUBEEZ_MCP_TOKEN", "sk_live_Secret_1-2", "holds an API key. Put the key into KUBEEZ_API_KEY"),
        ("KUBEEZ_API_KEY", JWT, "holds a token. Put a token of the hosted server into KUBEEZ_MCP_TOKEN"),
        ("KUBEEZ_API_KEY", f"Bearer {JWT}", "holds a token. Put a token of the hosted server into KUBEEZ_MCP_TOKEN"),
        ("KUBEEZ_BASE_URL", f"https://api.example.com/{JWT}", "holds a token"),
        ("KUBEEZ_MCP_TOKEN", "two Secret_1-2 words", "holds spaces or characters that no token has"),
        ("KUBEEZ_MCP_TOKEN", "${Secret_1-2}", "still holds a placeholder"),
        ("KUBEEZ_MCP_TOKEN", "<Secret_1-2>", "still holds a placeholder"),
        ("KUBEEZ_MCP_URL", "http://mcp.example.com/mcp", "would send your token unencrypted"),
        ("KUBEEZ_MCP_URL", "http://127.0.0.1.example.com/mcp", "would send your token unencrypted"),
        ("KUBEEZ_MCP_URL", "https://u:Secret_1-2@mcp.example.com/mcp", "must not carry a user name"),
        ("KUBEEZ_MCP_URL", "https://mcp.example.com/mcp?token=Secret_1-2", "a query"),
        ("KUBEEZ_MCP_URL", "mcp.kubeez.com", "must be an http(s) address such as https://mcp.kubeez.com/mcp"),
        ("KUBEEZ_HOSTED_LOGIN", f"live-0123456789abcdef@{DEFAULT_MCP_URL}", "login --hosted"),
        ("KUBEEZ_PREFER", "mcp", "'rest' or 'hosted'"),
        ("KUBEEZ_HOSTED_TOOLS", "some", "'none' or 'all'"),
    ],
)
def test_what_is_no_token_or_no_hosted_server_is_refused_by_its_variable(
    folder: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(environ={name: value}, working_dir=folder)
    text = str(refusal.value)
    assert said in text
    assert f"{name} " in text
    assert "from the environment" in text
    assert JWT not in text
    assert "Secret" not in text


def test_a_sign_in_opens_no_other_server_than_its_own(folder: Path) -> None:
    environ = {"KUBEEZ_HOSTED_LOGIN": SIGNED_IN, "KUBEEZ_MCP_URL": "https://mcp.example.com/mcp"}
    with pytest.raises(SettingsError, match=r"signed in at https://mcp\.kubeez\.com/mcp"):
        load_settings(environ=environ, working_dir=folder)


def test_a_projects_dotenv_supplies_no_token(folder: Path) -> None:
    lines = {"KUBEEZ_MCP_TOKEN": TOKEN, "KUBEEZ_HOSTED_LOGIN": SIGNED_IN, "KUBEEZ_MCP_URL": "https://evil.example"}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    settings = load_settings(environ={}, working_dir=folder)
    assert (settings.mcp_token, settings.hosted_login, settings.mcp_url) == (None, None, DEFAULT_MCP_URL)


def test_drives_and_folders_of_the_system_are_no_default_for_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home()
    for wide in ("/", "/etc", "/usr/share", str(home.parent)):
        assert load_settings(environ={}, working_dir=Path(wide)).input_dirs == (home,)
    link = folder / "link"
    link.symlink_to("/etc")
    assert load_settings(environ={}, working_dir=link).input_dirs == (home,)
    assert load_settings(environ={}, working_dir=folder).input_dirs == (home, folder)
    monkeypatch.setenv("HOME", "/")
    assert load_settings(environ={}, working_dir=Path("/")).input_dirs == ()


def test_what_the_user_names_may_be_read_and_is_warned_of(folder: Path) -> None:
    named = load_settings(environ={"KUBEEZ_INPUT_DIRS": "/"}, working_dir=folder)
    assert named.input_dirs == (Path("/"),)
    assert "/ is a drive, a system folder or above your home, and everything in it may be read" in wide_folders(
        named, folder
    )
    started = load_settings(environ={}, working_dir=Path("/"))
    assert wide_folders(started, Path("/")) == [
        "started in /, which is a drive, a system folder or above your home, so its files may not be read"
    ]
    assert wide_folders(load_settings(environ={}, working_dir=folder), folder) == []


def test_system_folders_are_known_by_name_on_every_system() -> None:
    home = PurePosixPath("/home/ann")
    wide: list[PurePath] = [
        PurePosixPath(each)
        for each in (
            *("/", "/home", "/Users", "/etc", "/usr/bin", "/var/lib/dpkg", "/opt", "/System/Library", "/Library/Fonts"),
            *(
                "/Applications/Client.app/Contents",
                "/private/etc",
                "/Volumes",
                "/mnt",
                "/mnt/c",
                "/mnt/c/Windows/System32",
            ),
        )
    ]
    wide += [
        PureWindowsPath(each)
        for each in (
            *("C:\\", "D:/", "\\\\server\\share", "C:\\Windows\\System32", "c:\\program files\\client", "C:\\Users"),
            *("C:\\ProgramData\\x", "C:\\$Recycle.Bin"),
        )
    ]
    assert [each for each in wide if not is_system_folder(each, home if each.parts[0] == "/" else None)] == []
    usual: list[PurePath] = [
        PurePosixPath(each)
        for each in (
            *("/home/ann", "/home/ann/etc", "/root", "/srv/site", "/data/etc", "/opt/shop", "/var/www/site/img"),
            *(
                "/Users/ann/Library/x",
                "/Volumes/Stick",
                "/var/folders/a/b",
                "/private/tmp/x",
                "/mnt/data",
                "/mnt/c/Users/ann",
            ),
        )
    ]
    usual += [PureWindowsPath("C:\\Users\\ann"), PureWindowsPath("D:\\Projects"), PureWindowsPath("//server/share/ads")]
    assert [each for each in usual if is_system_folder(each, home if each.parts[0] == "/" else None)] == []
