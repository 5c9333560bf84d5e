"""What deploying says of a network whose training was stopped."""

from ssn_mm.deploy.unselected import _how_far


def test_a_checkpoint_says_how_far_it_is():
    assert _how_far(dict(iter=4, epoch=0), dict(train_cfg=dict(max_iters=8))) == (
        'iteration 4 of 8',
        False,
    )
    assert _how_far(dict(epoch=3), dict(train_cfg=dict(max_epochs=3))) == ('epoch 3 of 3', True)
    assert _how_far({}, dict(train_cfg=dict(max_iters=8))) == ('', False)
