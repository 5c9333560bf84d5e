import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from ssn_mm.suites.metafiles import batch, read_config_results, render

CONFIGS = Path(__file__).parents[2] / 'configs'
RESULTS = read_config_results(CONFIGS)
MODELS = [(folder, name) for folder, family in RESULTS.items() for name in family['models']]


def test_rendered_files_are_up_to_date():
    for path, text in render(CONFIGS).items():
        assert path.read_text() == text, f'{path}: run tools/analysis_tools/make_metafiles.py'


def test_every_leaf_is_in_the_results_and_the_other_way_round():
    folders = read_config_results(CONFIGS)
    on_disk = {
        (folder, path.stem)
        for folder in folders
        for path in (CONFIGS / folder).glob('*.py')
        if not path.stem.startswith('_')
    }
    assert on_disk == set(MODELS)


@pytest.mark.parametrize(('folder', 'name'), MODELS, ids=[name for _, name in MODELS])
def test_a_name_tells_the_samples_a_gpu(folder, name):
    cfg = Config.fromfile(CONFIGS / folder / f'{name}.py')
    assert cfg.train_dataloader.batch_size == batch(name)[1]


def test_a_metafile_has_what_a_model_index_needs():
    index = yaml.safe_load((CONFIGS / 'model-index.yml').read_text())
    names = []
    for path in index['Import']:
        content = yaml.safe_load((CONFIGS.parent / path).read_text())
        (collection,) = content['Collections']
        assert (CONFIGS.parent / collection['README']).is_file()
        for model in content['Models']:
            gpus, samples = batch(model['Name'])
            assert model['In Collection'] == collection['Name']
            assert (CONFIGS.parent / model['Config']).stem == model['Name']
            assert model['Metadata']['Global Batch Size'] == gpus * samples
            names.append(model['Name'])
    assert sorted(names) == sorted(name for _, name in MODELS)


def test_our_column_stays_empty_until_run(tmp_path):
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    path = tmp_path / 'configs' / 'results.yml'
    results = yaml.safe_load(path.read_text())
    folder, name = MODELS[0]
    model = results[folder]['models'][name]
    path.write_text(yaml.safe_dump(results))

    def rendered(kind):
        return render(tmp_path / 'configs')[tmp_path / 'configs' / folder / kind]

    def row():
        return next(line for line in rendered('README.md').splitlines() if f'({name}.py)' in line)

    assert row().endswith(f'{model["paper"]} (table {model["table"]}) |  |')
    model['ours'] = 12.5
    path.write_text(yaml.safe_dump(results))
    assert row().endswith('| 12.5 |')
    entry = next(m for m in yaml.safe_load(rendered('metafile.yml'))['Models'] if m['Name'] == name)
    assert entry['Results'][0]['Metrics'] == {model['metric']: 12.5}
    assert entry["Paper's Results"][0]['Metrics'] == {model['metric']: model['paper']}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(norm=None), 'norm is None, expected a text'),
        (dict(metric=5), 'metric is 5, expected a name or a list of names'),
        (dict(paper='high'), "paper is 'high', expected a number for mIoU, or null"),
        (dict(ours=[1, 2]), r'ours is \[1, 2\], expected a number for mIoU, or null'),
        (dict(ours=True), 'ours is True, expected a number'),
        (dict(metric=['a', 'b'], paper=[1]), r'paper is \[1\], expected 2 numbers for'),
        (dict(metric=['a', 'b'], paper=3.5), r'paper is 3.5, expected 2 numbers for'),
        (dict(wheels=4), r"b_8xb2-1e has \['data', .*, 'wheels'\], expected"),
    ],
)
def test_a_row_that_lacks_something_or_has_a_wrong_value_is_refused(tmp_path, change, message):
    model = dict(norm='SSN', data='ADE20K', table=4, metric='mIoU', paper=39.3, ours=None)
    family = dict(title='T', task='T', architecture=['R'], models={'b_8xb2-1e': model})
    (tmp_path / 'results.yml').write_text(yaml.safe_dump(dict(a=family)))
    read_config_results(tmp_path)
    family['models'] = {'b_8xb2-1e': model | change}
    (tmp_path / 'results.yml').write_text(yaml.safe_dump(dict(a=family)))
    with pytest.raises(ValueError, match=message) as told:
        read_config_results(tmp_path)
    assert str(told.value).startswith(f'{tmp_path / "results.yml"}, b_8xb2-1e')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: {models: {b_8xb2-1e: {norm: SSN}}}', r"a has \['models'\], expected"),
        ('[1, 2]', r'results.yml is \[1, 2\], expected entries by name'),
        ('a: {', 'is no YAML'),
    ],
)
def test_a_file_that_is_no_list_of_results_is_refused(tmp_path, text, message):
    (tmp_path / 'results.yml').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config_results(tmp_path)


def test_a_name_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="'resnet50' does not tell the batch"):
        batch('resnet50')


def test_a_check_that_finds_old_files_tells_the_command_that_renews_them(tmp_path, run_tool):
    configs = tmp_path / 'own configs'
    shutil.copytree(CONFIGS, configs)
    tool = CONFIGS.parent / 'tools/analysis_tools/make_metafiles.py'
    (configs / 'model-index.yml').write_text('old')
    code, output = run_tool(sys.executable, tool, '--configs', configs, '--check')
    assert code == 1
    command = output.splitlines()[-1].strip()
    code, output = run_tool(*shlex.split(command))
    assert code == 0, output
    assert (configs / 'model-index.yml').read_text() == (CONFIGS / 'model-index.yml').read_text()
