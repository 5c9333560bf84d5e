# What the suites on solar cells share. Split n of the photographs is seed n's.
seeds = [0, 1, 2, 3, 4]
splits = [f'{loader}_dataloader.dataset.split' for loader in ('train', 'val', 'test')]
metrics = ['AUC', 'balanced_accuracy']
