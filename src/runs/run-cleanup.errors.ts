import { AppError } from '../common/errors.js';

/** The database knows none of the runs whose directories lie in the store: it is another installation's, and nothing was removed. */
export class StoreOfAnother extends AppError {
  readonly code = 'gc.store_of_another';
  readonly kind = 'conflict';
  constructor(dir: string) {
    super(`the database knows no run whose directory lies in ${dir}; name the database and the store of the same installation. If it is right, and every run was deleted, empty the directory by hand`);
  }
}
