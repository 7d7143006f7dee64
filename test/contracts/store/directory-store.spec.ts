import { DirectoryStore } from '../../../src/storage/directory-store.js';
import { useScratchDir } from '../../support/scratch-dir.js';
import { describeRunStore } from './store-contract.js';

const dir = useScratchDir();
describeRunStore('DirectoryStore', async () => new DirectoryStore(dir('run')));
