import { AppError } from '../common/errors.js';

/** A secret was asked for by the name of its environment variable, and that variable is not set. */
export class SecretMissing extends AppError {
  readonly code = 'config.secret_missing';
  readonly kind = 'invalid';
}

/** @returns the value of the environment variable that a user names, for example in `api_key_env`. @throws SecretMissing when unset or empty. */
export function secretFromEnvironment(name: string): string {
  const value = process.env[name];
  if (!value) throw new SecretMissing(`the environment variable ${name} is not set, but it is named as the one that holds the teacher's key; export it, or name none`);
  return value;
}
