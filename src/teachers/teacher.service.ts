import type { Dispatcher } from 'undici';
import { newId } from '../common/ids.js';
import { SecretSealer } from '../common/sealing.js';
import type { Database, Tx } from '../database/database.js';
import { isViolation } from '../database/violations.js';
import { EgressPolicy } from '../http/egress-policy.js';
import { EgressRefused } from '../http/egress.errors.js';
import type { EgressUrl } from '../http/egress-url.js';
import { listOf, type List, type PageQuery } from '../http/page.js';
import { probeTeacher, type ProbeResult } from './teacher-probe.js';
import { TeacherInUse, TeacherNameTaken, TeacherNotFound } from './teacher.errors.js';
import { TeacherRepository, type TeacherRow } from './teacher.repository.js';
import type { DeletedTeacher, NewTeacher, Teacher, TeacherProbe } from './teacher.schema.js';

/** What of the settings concerns teachers. */
export interface TeacherSettings {
  readonly masterKey: string;
  readonly allowedTeachers: readonly string[];
}

/** All that a client needs to speak with a teacher. */
export interface TeacherConnection {
  readonly dialect: 'vllm';
  readonly baseUrl: string;
  readonly model: string;
  readonly apiKey?: string;
  /** Reaches the teacher's origin alone, under the outbound policy. Whoever asked for the connection destroys it, or hands it to a client that does. */
  readonly dispatcher: Dispatcher;
}

/** A key this short would be given away by its last four characters. */
const SHOWN_FROM = 16;

/** Registered teachers: how they are reached, and with which key. */
export class TeacherService {
  private readonly teachers: TeacherRepository;
  private readonly policy: EgressPolicy;
  private readonly sealer: SecretSealer;

  /** @throws EgressListInvalid */
  constructor(database: Database, { masterKey, allowedTeachers }: TeacherSettings) {
    this.teachers = new TeacherRepository(database);
    this.policy = new EgressPolicy(allowedTeachers);
    this.sealer = new SecretSealer(masterKey);
  }

  /** Judges the address of a teacher that shall be registered. Asks the name service, so it stands before the transaction. @throws EgressRefused */
  async admit({ base_url }: NewTeacher): Promise<void> {
    await this.policy.checkResolved(base_url).catch((error: unknown) => {
      throw error instanceof EgressRefused ? error.at('base_url') : error;
    });
  }

  /** Registers a teacher that was admitted. @throws TeacherNameTaken */
  async create(tx: Tx, { name, dialect, base_url, model, api_key }: NewTeacher): Promise<Teacher> {
    const id = newId('teacher');
    const key = api_key === undefined ? { api_key_sealed: null, api_key_last4: null } : { api_key_sealed: this.sealer.seal(api_key, id), api_key_last4: lastFour(api_key) };
    const row = await this.teachers.insert(tx, { id, name, dialect, base_url: apiRoot(this.policy.check(base_url)), model, ...key });
    if (!row) throw new TeacherNameTaken(name);
    return shown(row);
  }

  /** @throws TeacherNotFound */
  async retrieve(id: string): Promise<Teacher> {
    return shown(await this.row(id));
  }

  async list({ after, limit }: PageQuery): Promise<List<Teacher>> {
    const rows = await this.teachers.page({ after, limit });
    return listOf(rows.map(shown), limit);
  }

  /** Looks whether the teacher answers and serves its model, and keeps what it found. @throws TeacherNotFound */
  async probe(id: string, withinMs: number): Promise<TeacherProbe> {
    const found = await this.look(await this.row(id), withinMs);
    const probe = await this.teachers.saveProbe(id, found);
    if (!probe) throw new TeacherNotFound(id);
    return probe;
  }

  /** @throws TeacherNotFound, TeacherInUse */
  async remove(id: string): Promise<DeletedTeacher> {
    const removed = await this.teachers.remove(id).catch((error: unknown) => {
      throw isViolation(error, 'foreign_key') ? new TeacherInUse(id) : error;
    });
    if (!removed) throw new TeacherNotFound(id);
    return { id, object: 'teacher', deleted: true };
  }

  /** @throws TeacherNotFound, EgressRefused when the operator allows it no longer, SecretUnreadable */
  async connection(id: string): Promise<TeacherConnection> {
    return this.connect(await this.row(id));
  }

  /** A way to an address, as one of its teachers has it; undefined when none has. @throws EgressRefused, SecretUnreadable */
  async connectionTo(baseUrl: string): Promise<TeacherConnection | undefined> {
    const row = await this.teachers.at(baseUrl);
    return row && this.connect(row);
  }

  private async row(id: string): Promise<TeacherRow> {
    const row = await this.teachers.find(id);
    if (!row) throw new TeacherNotFound(id);
    return row;
  }

  private connect({ id, dialect, base_url: baseUrl, model, api_key_sealed: sealed }: TeacherRow): TeacherConnection {
    const apiKey = sealed === null ? {} : { apiKey: this.sealer.open(sealed, id) };
    return { dialect, baseUrl, model, ...apiKey, dispatcher: this.policy.dispatcher(baseUrl) };
  }

  private async look(row: TeacherRow, withinMs: number): Promise<ProbeResult> {
    if (!this.isAllowed(row.base_url)) return { status: 'refused', reason: 'outbound_policy' };
    const connection = this.connect(row);
    try {
      return await probeTeacher({ ...connection, withinMs });
    } finally {
      await connection.dispatcher.destroy();
    }
  }

  /** The operator may have taken an address off the list since it was registered. */
  private isAllowed(baseUrl: string): boolean {
    try {
      this.policy.check(baseUrl);
      return true;
    } catch (error) {
      if (error instanceof EgressRefused) return false;
      throw error;
    }
  }
}

/** The address before `/v1`, where the dialect's routes begin. */
function apiRoot({ origin, path }: EgressUrl): string {
  return `${origin}${path.replace(/\/v1$/, '')}`;
}

function lastFour(key: string): string | null {
  return key.length < SHOWN_FROM ? null : key.slice(-4);
}

function shown({ id, name, dialect, base_url, model, api_key_last4, created_at, probe }: TeacherRow): Teacher {
  return { id, object: 'teacher', name, dialect, base_url, model, api_key_last4, created_at, probe };
}
