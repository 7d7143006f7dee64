import { existsSync, readFileSync } from 'node:fs';
import { NestFactory } from '@nestjs/core';
import { AuthService } from '../auth/auth.service.js';
import { AppError } from '../common/errors.js';
import { Database } from '../database/database.js';
import { AdminKeyModule } from './admin-key.module.js';
import { writePrivately } from './private-file.js';

/** Where the first key lies and which database knows it. */
export interface AdminKeyPlace {
  readonly path: string;
  readonly databaseUrl: string;
  readonly masterKey: string;
}

/** The key of the operator who runs the installation, made the first time. One that was revoked stays so. @returns its text. */
export async function ensureAdminKey({ path, databaseUrl, masterKey }: AdminKeyPlace): Promise<string> {
  const context = await NestFactory.createApplicationContext(AdminKeyModule.on({ databaseUrl, masterKey }), { logger: false });
  try {
    const auth = context.get(AuthService);
    const kept = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
    if (await isKnown(auth, kept)) return kept;
    return await context.get(Database).transaction(async (tx) => {
      const { text } = await auth.createKey(tx, { name: 'admin', scopes: ['admin'], expiresInSeconds: null });
      writePrivately(path, `${text}\n`); // before the commit: a key that nobody can read would stay in the database
      return text;
    });
  } finally {
    await context.close();
  }
}

async function isKnown(auth: AuthService, text: string): Promise<boolean> {
  try {
    await auth.callerOf(text);
    return true;
  } catch (error) {
    if (error instanceof AppError && error.code === 'auth.key_revoked') return true;
    if (error instanceof AppError && error.kind === 'unauthenticated') return false;
    throw error;
  }
}
