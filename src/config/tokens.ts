/** Token under which the API's modules are given `ApiSettings`. */
export const API_SETTINGS = Symbol('ApiSettings');
/** Token under which the worker's modules are given `WorkerSettings`. */
export const WORKER_SETTINGS = Symbol('WorkerSettings');
